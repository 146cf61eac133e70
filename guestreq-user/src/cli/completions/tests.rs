use super::*;

fn complete(shell: Shell, typed: &str, names: &[&str]) -> Vec<String> {
    shell.complete(typed, names.iter().map(|name| (*name).to_owned()))
}

#[test]
fn in_bash_every_name_is_one_word() {
    for name in ["web-1", "a b", "$(reboot)", "`x`", "a'b\"c", "a;b|c&d", "*", "web@77", "~", "ü"]
    {
        let word = Shell::Bash.word(name).unwrap();
        let script = format!("printf %s {word}");
        let output = std::process::Command::new("bash").args(["-c", &script]).output().unwrap();
        assert_eq!(String::from_utf8(output.stdout).unwrap(), name, "{word}");
    }
}

#[test]
fn names_with_control_characters_or_too_long_are_not_offered() {
    for name in ["a\nb", "\u{1b}[31m", "a\tb", "\u{9b}1m", &"x".repeat(4096)] {
        for shell in Shell::value_variants() {
            assert_eq!(shell.word(name), None, "{shell:?} {name:?}");
        }
    }
    assert_eq!(Shell::Powershell.word("a;b"), None);
}

#[test]
fn what_was_typed_is_compared_as_the_shell_quotes_it() {
    let names = ["my vm", "my-vm", "other"];
    assert_eq!(complete(Shell::Bash, "my\\ ", &names), ["my\\ vm"]);
    assert_eq!(complete(Shell::Bash, "my", &names), ["my\\ vm", "my-vm"]);
    assert_eq!(complete(Shell::Zsh, "my\\ v", &names), ["my vm"]);
    assert_eq!(complete(Shell::Fish, "'my v", &names), ["my vm"]);
    assert_eq!(complete(Shell::Zsh, "x", &names), [""; 0]);
}

#[test]
fn every_shell_gets_a_script_that_runs_this_binary() {
    for shell in Shell::value_variants() {
        let mut script = Vec::new();
        let written = shell.completer().write_registration(VARIABLE, "g", "g", "g", &mut script);
        written.unwrap();
        assert!(String::from_utf8(script).unwrap().contains(VARIABLE), "{shell:?}");
    }
}

#[test]
fn every_option_that_names_a_vm_completes_vms() {
    fn walk(command: &Command, found: &mut usize) {
        for arg in command.get_arguments().filter(|arg| arg.get_long() == Some("vm")) {
            assert!(arg.get::<ArgValueCompleter>().is_some(), "{}", command.get_name());
            *found += 1;
        }
        command.get_subcommands().for_each(|verb| walk(verb, found));
    }
    let mut found = 0;
    walk(&with_vms(Cli::command(), Shell::Bash), &mut found);
    assert!(found >= 6, "{found}");
}
