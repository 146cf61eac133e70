use super::*;

const SOURCE: &str = r#"
// DefaultProfile defines the allowed syscalls.
func DefaultProfile(sp *specs.Spec) *specs.LinuxSeccomp {
	nosys := uint(unix.ENOSYS)
	syscalls := []specs.LinuxSyscall{
		{
			Names: []string{
				"accept", // "one" of them
				"access",
			},
			Action: specs.ActAllow,
			Args:   []specs.LinuxSeccompArg{},
		},
		{
			Names:  []string{"socket"},
			Action: specs.ActAllow,
			Args: []specs.LinuxSeccompArg{
				{
					Index: 0,
					Value: unix.AF_VSOCK,
					Op:    specs.OpNotEqual,
				},
			},
		},
	}
	s := &specs.LinuxSeccomp{
		DefaultAction: specs.ActErrno,
		Syscalls:      syscalls,
	}
	if ok, err := kernelversion.GreaterEqualThan(
		kernelversion.KernelVersion{Kernel: 4, Major: 8}); err == nil {
		if ok {
			s.Syscalls = append(s.Syscalls, specs.LinuxSyscall{
				Names:  []string{"ptrace"},
				Action: specs.ActAllow,
			})
		}
	}
	switch runtime.GOARCH {
	case "arm", "arm64":
		s.Syscalls = append(s.Syscalls, specs.LinuxSyscall{
			Names:  []string{"breakpoint"},
			Action: specs.ActAllow,
		})
	case "amd64":
		s.Syscalls = append(s.Syscalls, specs.LinuxSyscall{
			Names:  []string{"arch_prctl"},
			Action: specs.ActAllow,
		})
	}
	for _, c := range sp.Process.Capabilities.Bounding {
		switch c {
		case "CAP_BPF":
			s.Syscalls = append(s.Syscalls, specs.LinuxSyscall{
				Names:  []string{"bpf"},
				Action: specs.ActAllow,
			})
		}
	}
	if !admin {
		switch runtime.GOARCH {
		case "s390x":
			s.Syscalls = append(s.Syscalls, specs.LinuxSyscall{
				Names:  []string{"clone"},
				Action: specs.ActAllow,
			})
		default:
			s.Syscalls = append(s.Syscalls, specs.LinuxSyscall{
				Names: []string{
					"clone",
				},
				Action: specs.ActAllow,
				Args: []specs.LinuxSeccompArg{
					{
						Index:    0,
						Value:    unix.CLONE_NEWNS | unix.CLONE_NEWUTS,
						ValueTwo: 0,
						Op:       specs.OpMaskedEqual,
					},
				},
			})
		}
		s.Syscalls = append(s.Syscalls, specs.LinuxSyscall{
			Names: []string{
				"clone3",
			},
			Action:   specs.ActErrno,
			ErrnoRet: &nosys,
		})
	}
	return s
}
"#;

#[test]
fn each_rule_has_its_enclosing_conditions() {
    let profile = of_go(SOURCE).unwrap();
    let rules = profile["syscalls"].as_array().unwrap();
    let names: Vec<_> = rules.iter().map(|rule| rule["names"].to_string()).collect();
    assert_eq!(
        names.join(" "),
        r#"["accept","access"] ["socket"] ["ptrace"] ["arch_prctl"] ["bpf"] ["clone"] ["clone3"]"#
    );
    let conditions = |at: usize| (rules[at]["includes"].clone(), rules[at]["excludes"].clone());
    assert_eq!(conditions(0), (json!({}), json!({})));
    assert_eq!(conditions(2), (json!({"minKernel": "4.8"}), json!({})));
    assert_eq!(conditions(3), (json!({}), json!({})));
    assert_eq!(conditions(4), (json!({"caps": ["CAP_BPF"]}), json!({})));
    assert_eq!(conditions(5), (json!({}), json!({"caps": ["CAP_SYS_ADMIN"]})));
    let argument = |at: usize| rules[at]["args"][0].clone();
    let vsock = json!({"index": 0, "value": 40, "valueTwo": 0, "op": "SCMP_CMP_NE"});
    assert_eq!(argument(1), vsock);
    assert_eq!(argument(5)["value"], 0x0402_0000);
    assert_eq!(rules[6]["errnoRet"], 38);
    assert_eq!(rules[6]["action"], "SCMP_ACT_ERRNO");
}

#[test]
fn a_default_holds_for_architectures_without_a_case() {
    let other = SOURCE.replacen("case \"s390x\":", "case \"amd64\":", 1);
    let arguments: Vec<_> = of_go(&other).unwrap()["syscalls"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|rule| rule["names"][0] == "clone")
        .map(|rule| rule["args"].as_array().unwrap().len())
        .collect();
    assert_eq!(arguments, [0], "the case's, not the default's with its argument");
}

#[test]
fn unknown_input_is_an_error() {
    assert!(of_go("func Other() {}").is_err());
    for (from, to) in [
        ("specs.OpNotEqual", "specs.OpGreater"),
        ("unix.AF_VSOCK", "unix.AF_ALG"),
        ("specs.ActAllow", "specs.ActKill"),
        ("DefaultAction: specs.ActErrno", "DefaultAction: specs.ActAllow"),
        ("if !admin {", "if privileged {"),
        ("if !admin {", "if !admin || hosted {"),
        ("if !admin {", "if !admin ||\n\t\thosted {"),
        ("switch c {", "switch d {"),
        ("case \"CAP_BPF\":", "default:"),
        ("switch runtime.GOARCH {", "switch runtime.GOOS {"),
        ("Major: 8}); err == nil {", "Major: 8}); err != nil {"),
        ("GreaterEqualThan(", "LessThan("),
        ("case \"amd64\":", "case \"amd64\", // and others"),
        ("default:", "default: // all others"),
    ] {
        assert!(of_go(&SOURCE.replacen(from, to, 1)).is_err(), "{to}");
    }
}
