//! # The plugin's binary

fn main() -> std::process::ExitCode {
    guestreq::kubectl_main()
}
