//! # docs/pictures/order.svg
//!
//! The figures of docs/order.md on logarithmic scales.

use std::fmt::Write as _;

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 300.0;
const LEFT: f64 = 60.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 250.0;
const PLOT_WIDTH: f64 = 270.0;

/// A curve: its name, colour, and a number for each x.
pub struct Curve {
    pub name: &'static str,
    pub colour: &'static str,
    pub values: Vec<f64>,
}

/// A plot: its title, the decades of its y axis as powers of ten, their unit, and its curves.
pub struct Plot {
    pub title: &'static str,
    pub decades: std::ops::RangeInclusive<i32>,
    pub unit: &'static str,
    pub curves: Vec<Curve>,
}

impl Plot {
    fn y(&self, value: f64) -> f64 {
        let (low, high) = (f64::from(*self.decades.start()), f64::from(*self.decades.end()));
        BOTTOM - (value.log10() - low) / (high - low) * (BOTTOM - TOP)
    }

    fn draw(&self, left: f64, xs: &[String], svg: &mut String) {
        let step = PLOT_WIDTH / (xs.len() - 1) as f64;
        let mut line = |text: String| writeln!(svg, "{text}").unwrap();
        line(format!("<text x=\"{left}\" y=\"20\" font-weight=\"bold\">{}</text>", self.title));
        for decade in self.decades.clone() {
            let (value, right) = (10f64.powi(decade), left + PLOT_WIDTH);
            let (y, unit) = (self.y(value), self.unit);
            line(format!("<path d=\"M{left} {y:.1}H{right}\" stroke=\"#ddd\"/>"));
            let (x, y) = (left - 6.0, y + 4.0);
            line(format!("<text x=\"{x}\" y=\"{y:.1}\" text-anchor=\"end\">{value} {unit}</text>"));
        }
        for (i, x) in xs.iter().enumerate() {
            let at = left + step * i as f64;
            line(format!("<text x=\"{at:.1}\" y=\"268\" text-anchor=\"middle\">{x}</text>"));
        }
        for (i, Curve { name, colour, values }) in self.curves.iter().enumerate() {
            let point = |(x, value): (usize, &f64)| {
                format!("{:.1},{:.1}", left + step * x as f64, self.y(*value))
            };
            let points: Vec<_> = values.iter().enumerate().map(point).collect();
            let points = points.join(" ");
            line(format!(
                "<polyline points=\"{points}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>"
            ));
            let y = TOP + 10.0 + 16.0 * i as f64;
            line(format!("<text x=\"{}\" y=\"{y}\" fill=\"{colour}\">{name}</text>", left + 8.0));
        }
    }
}

/// Two plots side by side, over the same x.
pub fn svg(xs: &[String], plots: &[Plot; 2]) -> String {
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n"
    );
    for (plot, i) in plots.iter().zip(0..) {
        let left = LEFT + f64::from(i) * (PLOT_WIDTH + 90.0);
        plot.draw(left, xs, &mut svg);
        let middle = left + PLOT_WIDTH / 2.0;
        let label = "VMs that push";
        svg += &format!("<text x=\"{middle}\" y=\"288\" text-anchor=\"middle\">{label}</text>\n");
    }
    svg + "</svg>\n"
}
