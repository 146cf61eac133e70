//! # What processes that hang are doing

use std::{collections::BTreeMap, fs};

/// Of a stack, the innermost; the rest is how threads enter the kernel.
const FUNCTIONS: usize = 8;

/// The state and kernel stack of each thread, those that do the same together.
pub fn doing(pids: &[u32]) -> String {
    let mut alike: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for pid in pids {
        let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
        for task in tasks {
            let path = task.path().display().to_string();
            alike.entry(doing_one(&path)).or_default().push(name(&path));
        }
    }
    let lines = alike.into_iter().map(|(doing, threads)| match threads.as_slice() {
        [one] => format!("{one} {doing}"),
        [first, ..] => format!("{first} and {} more {doing}", threads.len() - 1),
        [] => doing,
    });
    lines.collect::<Vec<_>>().join("; ")
}

/// As `snpload[42]`.
fn name(task: &str) -> String {
    let comm = fs::read_to_string(format!("{task}/comm")).unwrap_or_default();
    let tid = task.rsplit('/').next().unwrap_or_default();
    format!("{}[{tid}]", comm.trim_end())
}

/// As "(D) in f < g".
fn doing_one(task: &str) -> String {
    let read = |file| fs::read_to_string(format!("{task}/{file}")).unwrap_or_default();
    let status = read("status");
    let state = status.lines().find_map(|line| line.strip_prefix("State:\t")).unwrap_or("gone");
    let state = state.split(' ').next().unwrap_or_default();
    // Reading a stack needs more privileges.
    let stack = match functions(&read("stack")) {
        stack if stack.is_empty() => read("wchan"),
        stack => stack,
    };
    format!(
        "({state}) in {}",
        if matches!(&*stack, "" | "0") { "no function of the kernel" } else { &stack }
    )
}

/// The functions of lines such as `[<0>] kvm_vcpu_block+0x2a/0x90 [kvm]`, the innermost first.
fn functions(stack: &str) -> String {
    let names = stack.lines().filter_map(|line| line.split(' ').nth(1)?.split('+').next());
    names.take(FUNCTIONS).collect::<Vec<_>>().join(" < ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stack_is_a_chain_of_functions() {
        let stack = "[<0>] futex_do_wait+0x38/0x70\n[<0>] kvm_vcpu_block+0x2a/0x90 [kvm]\n";
        assert_eq!(functions(stack), "futex_do_wait < kvm_vcpu_block");
        assert_eq!(functions(""), "");
    }

    #[test]
    fn threads_are_named() {
        let doing = doing(&[std::process::id()]);
        assert!(doing.contains("] (") || doing.contains(" more ("), "{doing}");
    }
}
