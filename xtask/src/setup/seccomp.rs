//! # containerd's default seccomp profile, from its source
//!
//! A Go function creates the rules from the container's capabilities, the architecture and the
//! kernel's version: literals, some of them in conditions. This reads the literals with their
//! enclosing conditions, so that the rig can apply what containerd would.

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Map, Value, json};

/// Flags of clone(2) for new namespaces (include/uapi/linux/sched.h).
const CONSTANTS: &[(&str, u64)] = &[
    ("unix.CLONE_NEWNS", 0x0002_0000),
    ("unix.CLONE_NEWCGROUP", 0x0200_0000),
    ("unix.CLONE_NEWUTS", 0x0400_0000),
    ("unix.CLONE_NEWIPC", 0x0800_0000),
    ("unix.CLONE_NEWUSER", 0x1000_0000),
    ("unix.CLONE_NEWPID", 0x2000_0000),
    ("unix.CLONE_NEWNET", 0x4000_0000),
    ("unix.AF_VSOCK", 40),
];
const OPERATORS: &[(&str, &str)] = &[
    ("specs.OpEqualTo", "SCMP_CMP_EQ"),
    ("specs.OpNotEqual", "SCMP_CMP_NE"),
    ("specs.OpMaskedEqual", "SCMP_CMP_MASKED_EQ"),
];
const ENOSYS: u64 = 38;

/// A profile in containers-common's format, for amd64.
pub fn of_go(source: &str) -> Result<Value> {
    let body = source.split_once("func DefaultProfile(").context("no DefaultProfile")?.1;
    ensure!(body.contains("DefaultAction: specs.ActErrno"), "another default");
    let mut rules = Vec::new();
    for (at, _) in body.match_indices("Names:") {
        let conditions = Conditions::at(&body[..at])?;
        if conditions.amd64 {
            rules.push(rule(literal(body, at)?, &conditions)?);
        }
    }
    Ok(json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": 1,
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
        "syscalls": rules,
    }))
}

/// A rule's conditions.
struct Conditions {
    includes: Map<String, Value>,
    excludes: Map<String, Value>,
    amd64: bool,
}

impl Conditions {
    /// The conditions of the blocks that are open at the end.
    fn at(before: &str) -> Result<Conditions> {
        // The opening line of each, and a switch's cases until here.
        let mut open: Vec<(&str, Vec<&str>)> = Vec::new();
        for line in before.lines().map(str::trim) {
            if let (true, Some((_, cases))) = (is_case(line), open.last_mut()) {
                cases.push(line);
                continue;
            }
            for byte in line.bytes() {
                match byte {
                    b'{' => open.push((line, Vec::new())),
                    b'}' => drop(open.pop()),
                    _ => {}
                }
            }
        }
        let mut all = Conditions { includes: Map::new(), excludes: Map::new(), amd64: true };
        for (line, cases) in open {
            all.add(line, &cases, before)?;
        }
        Ok(all)
    }

    /// A block. What is not known is an error: left out, a condition's rules would hold always.
    fn add(&mut self, line: &str, cases: &[&str], before: &str) -> Result<()> {
        let case = cases.last().map_or("", |case| case);
        match line {
            "switch c {" => {
                ensure!(case.starts_with("case \"CAP_"), "capability {case:?}");
                self.includes.insert("caps".into(), json!(strings(case)));
            }
            "switch runtime.GOARCH {" => {
                let is_amd64 = |case: &str| strings(case).iter().any(|arch| arch == "amd64");
                ensure!(case.ends_with(':'), "architecture {case:?}");
                self.amd64 &= match case {
                    // For the architectures of no case.
                    "default:" => !cases.iter().any(|case| is_amd64(case)),
                    _ => is_amd64(case),
                };
            }
            "if !admin {" => {
                self.excludes.insert("caps".into(), json!(["CAP_SYS_ADMIN"]));
            }
            "if ok {" => {
                self.includes.insert("minKernel".into(), json!(minimum_version(before)?));
            }
            _ => ensure!(is_unconditional(line), "condition {line:?}"),
        }
        Ok(())
    }
}

/// The version in the question before `if ok`.
fn minimum_version(before: &str) -> Result<String> {
    let question = before.rsplit_once("if ok, err := ").context("no question")?.1;
    let call = question.strip_prefix("kernelversion.GreaterEqualThan(");
    let version = call.and_then(|call| call.split_once("KernelVersion{"));
    let version = version.with_context(|| format!("condition {question:?}"))?.1;
    let number = |name: &str| {
        let rest = version.split_once(name)?.1.trim_start();
        rest.split(|c: char| !c.is_ascii_digit()).next()?.parse::<u32>().ok()
    };
    match (number("Kernel:"), number("Major:")) {
        (Some(major), Some(minor)) => Ok(format!("{major}.{minor}")),
        _ => bail!("a version that is none"),
    }
}

/// Whether a block's content holds wherever the block stands: literals, the function, the loop around
/// `switch c`, and the question to which `if ok` has the answer.
fn is_unconditional(line: &str) -> bool {
    line == "{"
        || line == "sp *specs.Spec) *specs.LinuxSeccomp {"
        || line == "for _, c := range sp.Process.Capabilities.Bounding {"
        || line.contains("specs.LinuxSyscall{")
        || line.contains("kernelversion.KernelVersion{") && line.ends_with("); err == nil {")
}

fn is_case(line: &str) -> bool {
    line.starts_with("case ") || line.starts_with("default:")
}

/// The contents of the innermost braces around a position.
fn literal(body: &str, at: usize) -> Result<&str> {
    let begin = body[..at].rfind('{').context("no literal")?;
    let mut depth = 0;
    for (i, byte) in body[begin..].bytes().enumerate() {
        match byte {
            b'{' => depth += 1,
            b'}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Ok(&body[begin + 1..begin + i]);
        }
    }
    bail!("a literal without its closing brace")
}

fn rule(text: &str, conditions: &Conditions) -> Result<Value> {
    let (head, args) = text.split_once("Args:").unwrap_or((text, ""));
    let names = head.split_once("[]string{").context("no names")?.1;
    let names = strings(names.split_once('}').context("names without a closing brace")?.0);
    ensure!(!names.is_empty(), "a rule without a name");
    let action = match (text.contains("specs.ActAllow"), text.contains("specs.ActErrno")) {
        (true, false) => "SCMP_ACT_ALLOW",
        (false, true) => "SCMP_ACT_ERRNO",
        _ => bail!("{names:?}: another action"),
    };
    let args = args.split("Index:").skip(1).map(argument).collect::<Result<Vec<_>>>()?;
    let mut rule = json!({
        "names": names,
        "action": action,
        "args": args,
        "includes": conditions.includes,
        "excludes": conditions.excludes,
    });
    if text.contains("ErrnoRet: &nosys") {
        rule["errnoRet"] = json!(ENOSYS);
    }
    Ok(rule)
}

fn argument(text: &str) -> Result<Value> {
    let field = |name: &str| {
        let rest = text.split_once(name)?.1;
        Some(rest.split([',', '\n']).next()?.trim().to_owned())
    };
    let index: u64 = text.split(',').next().unwrap_or_default().trim().parse()?;
    let value = number(&field("Value:").context("no value")?)?;
    let two = field("ValueTwo:").map_or(Ok(0), |text| number(&text))?;
    let operator = field("Op:").context("no operator")?;
    let known = OPERATORS.iter().find(|(name, _)| *name == operator);
    let (_, operator) = known.with_context(|| format!("operator {operator}"))?;
    Ok(json!({"index": index, "value": value, "valueTwo": two, "op": operator}))
}

/// `0x8`, or names joined by `|`.
fn number(text: &str) -> Result<u64> {
    let one = |word: &str| match CONSTANTS.iter().find(|(name, _)| *name == word) {
        Some((_, value)) => Ok(*value),
        None => match word.strip_prefix("0x") {
            Some(digits) => u64::from_str_radix(digits, 16),
            None => word.parse(),
        }
        .with_context(|| format!("number {word}")),
    };
    text.split('|').map(|word| one(word.trim())).try_fold(0, |all, one| Ok(all | one?))
}

/// Quoted strings outside comments.
fn strings(text: &str) -> Vec<String> {
    let of_line = |line: &str| -> Vec<String> {
        let code = line.split("//").next().unwrap_or_default();
        code.split('"').skip(1).step_by(2).map(str::to_owned).collect()
    };
    text.lines().flat_map(of_line).collect()
}

#[cfg(test)]
mod tests;
