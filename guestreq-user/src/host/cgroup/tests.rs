use proptest::prelude::*;

use super::*;

fn uid_in(cgroups: &str, own: Option<&str>) -> Option<String> {
    of_cgroups(cgroups, own).map(|(uid, _)| uid)
}

const UID: &str = "1858680e-b044-4fd5-9dd4-f137e30e2180";

#[test]
fn an_unknown_form_of_cgroup_path_names_no_pod() {
    for path in [
        "/",
        "/user.slice/user-1000.slice/session-1.scope",
        "/machine.slice/machine-qemu\\x2d1\\x2dweb.scope/libvirt/emulator",
        &format!("/lxc/pod{UID}"),
        &format!("/system.slice/my-pod{UID}.service"),
        "/kubepods/burstable/podcast",
        "/kubepods/pod1858680e-b044-4fd5-9dd4-f137e30e21zz",
        "/kubepods/pod",
    ] {
        assert_eq!(uid_in(&format!("0::{path}\n"), None), None, "{path}");
    }
    assert_eq!(uid_in("nonsense\n\n0:\n", None), None);
}

#[test]
fn a_container_that_makes_cgroups_cannot_pass_for_another_pod() {
    let other = UID.replace('1', "2");
    let path = format!("0::/kubepods/burstable/pod{UID}/0123/kubepods/pod{other}/4567\n");
    assert_eq!(uid_in(&path, None).as_deref(), Some(UID));
}

/// Row 13 of the second review: `/..` counted as kubepods, whatever stood behind it.
#[test]
fn a_user_s_own_cgroups_cannot_pass_for_a_pod() {
    let mine = format!("pod{UID}");
    let slice = format!("kubepods-burstable-{}.slice", mine.replace('-', "_"));
    for owned in [
        "user.slice/user-1000.slice/user@1000.service/app.slice",
        "user.slice/user-1000.slice/user@1000.service/kubepods",
    ] {
        for (up, pod) in ["", "/..", "/../../../.."].iter().zip([&mine, &slice, &mine]) {
            let path = format!("0::{up}/{owned}/{pod}\n");
            assert_eq!(uid_in(&path, None), None, "{path}");
        }
    }
    for owned in ["system.slice/docker-0123.scope/kubepods", "machine.slice/x", "0123", "lxc"] {
        for pod in [&mine, &slice] {
            let path = format!("0::/../../..//{owned}/{pod}\n");
            assert_eq!(uid_in(&path, None), None, "{path}");
        }
    }
    // Kubelet puts nothing between a class and its pods.
    assert_eq!(uid_in(&format!("0::/kubepods/burstable/x/{mine}\n"), None), None);
}

#[test]
fn kubelet_s_folders_are_recognized_from_any_cgroup_of_ours() {
    let pod = format!("pod{UID}");
    let of_systemd = pod.replace('-', "_");
    for path in [
        format!("/../{pod}"),
        format!("/../../burstable/{pod}/0123"),
        format!("/../../../kubepods/{pod}"),
        format!("/../../kubepods-{of_systemd}.slice/cri-containerd-0123.scope"),
        format!("/../../../kubepods-besteffort.slice/kubepods-besteffort-{of_systemd}.slice"),
        format!("/../../../../kubelet/kubepods/besteffort/{pod}"),
        format!("/../../../../kata_overhead/kubepods/besteffort/{pod}"),
    ] {
        assert_eq!(uid_in(&format!("0::{path}\n"), None).as_deref(), Some(UID), "{path}");
    }
}

#[test]
fn an_agent_in_a_pod_trusts_its_own_kubelet_only() {
    let ours = "1:name=systemd:/\n0::/kubelet/kubepods/burstable/\
                pod11111111111111111111111111111111/4567\n";
    assert_eq!(own_kubepods(ours), Some("/kubelet/kubepods"));
    assert_eq!(own_kubepods("0::/system.slice/guestreq.service\n"), None);
    assert_eq!(own_kubepods("0::/../../kubepods/x\n"), None, "not in a pod");
    let of = |path: &str| uid_in(&format!("0::{path}/pod{UID}\n"), own_kubepods(ours));
    assert_eq!(of("/kubelet/kubepods/besteffort").as_deref(), Some(UID));
    assert_eq!(of("/docker/0123/kubelet/kubepods"), None);
    assert_eq!(of("/kubelet/kubepods-of-mine/kubepods"), None);
}

proptest! {
    #[test]
    fn no_cgroup_makes_it_panic_or_a_label_that_is_no_uid(
        bytes: Vec<u8>, part in "(kubepods|pod|[-_:./a-f0-9]|\\PC){0,60}"
    ) {
        for cgroups in [
            String::from_utf8_lossy(&bytes).into_owned(),
            format!("0::/kubepods/pod{part}"),
            format!("0::/../{part}-kubepods-pod{part}.slice"),
        ] {
            let uid = uid_in(&cgroups, None).unwrap_or_default();
            prop_assert!(uid.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-'));
            prop_assert!(uid.len() <= 36);
        }
    }
}

#[test]
fn the_line_that_names_the_pod_is_returned() {
    let pod = format!("9:devices:/kubepods/pod{UID}/x:y");
    let found = of_cgroups(&format!("11:memory:/\n{pod}\n0::/kubepods/pod{UID}\n"), None);
    assert_eq!(found, Some((UID.to_owned(), pod)));
}
