//! # The gate's scriptlets

use super::*;

#[test]
fn the_gate_is_built_for_every_kernel_with_headers_then_loaded() {
    let host = Host::booted("rpm-gate-install");
    let [_, gate] = host.pack("0.1.1");
    let ran = host.install(&gate);
    let (m, safe) = ("-m guestreq-gate -v 0.1.1", "--rpm_safe_upgrade");
    let calls = [
        format!("dkms add {m} {safe}"),
        format!("dkms status {m} -k 6.12.1"),
        format!("dkms install {m} -k 6.12.1 {safe}"),
        "modprobe guestreq_gate".to_owned(),
    ];
    assert_eq!(ran.calls, calls, "{ran:?}");
    assert!(!ran.failed && ran.errors.is_empty(), "{ran:?}");
    // dkms refuses to add it again when it is reinstalled.
    host.stand_in(
        "bin/dkms",
        "[ \"$1\" != status ] || echo guestreq-gate: installed; [ \"$1\" != add ]",
    );
    let ran = host.install(&gate);
    assert!(!ran.called("dkms install") && !ran.failed, "{ran:?}");
}

#[test]
fn kernels_for_which_the_gate_cannot_be_built_are_reported() {
    let host = Host::booted("rpm-gate-fails");
    fs::create_dir_all(host.folder.join("root/usr/lib/modules/7.0.0/build/include")).unwrap();
    let [_, gate] = host.pack("0.1.0");
    host.stand_in(
        "bin/dkms",
        "case \"$*\" in install*6.12.1*) exit 10 ;; install*) exit 77 ;; esac",
    );
    let ran = host.install(&gate);
    assert!(ran.failed && ran.errors.contains("was not built for 6.12.1: see "), "{ran:?}");
    assert!(ran.called("dkms install -m guestreq-gate -v 0.1.0 -k 7.0.0"), "{ran:?}");
    fs::remove_dir_all(host.folder.join("root/usr/lib/modules")).unwrap();
    let ran = host.install(&gate);
    assert!(!ran.failed && ran.errors.contains("install kernel-devel"), "{ran:?}");
    assert!(!ran.called("modprobe"), "{ran:?}");
}

#[test]
fn an_upgrade_of_the_gate_installs_the_new_one_before_it_removes_the_old() {
    let host = Host::booted("rpm-gate-upgrade");
    let ([_, old], [_, new]) = (host.pack("0.1.0"), host.pack("0.1.1"));
    let ran = host.upgrade(&old, &new);
    let installed = ran.position("dkms install -m guestreq-gate -v 0.1.1");
    let removed = ran.position("dkms remove -m guestreq-gate -v 0.1.0 --all --rpm_safe_upgrade");
    assert!(installed.is_some() && installed < removed && !ran.failed, "{ran:?}");
    // Two installed versions would be worse than what dkms leaves.
    host.stand_in(
        "bin/dkms",
        "[ \"$1\" != status ] || echo guestreq-gate: added; [ \"$1\" != remove ]",
    );
    let ran = host.upgrade(&old, &new);
    assert!(!ran.failed && ran.errors.contains("still has the old version"), "{ran:?}");
}

#[test]
fn a_gate_that_dkms_cannot_remove_is_built_again() {
    let host = Host::booted("rpm-gate-stays");
    let [_, gate] = host.pack("0.1.0");
    let ran = host.remove(&gate);
    assert!(ran.called("dkms remove -m guestreq-gate -v 0.1.0 --all") && !ran.failed, "{ran:?}");
    host.stand_in(
        "bin/dkms",
        "[ \"$1\" != status ] || echo guestreq-gate: added; [ \"$1\" != remove ]",
    );
    let ran = host.remove(&gate);
    let built = ran.position("dkms install -m guestreq-gate -v 0.1.0");
    assert!(ran.failed && built > ran.position("dkms remove"), "{ran:?}");
    assert!(ran.errors.contains("not removed"), "{ran:?}");
    // Nothing is left of it in dkms.
    host.stand_in("bin/dkms", "");
    let ran = host.remove(&gate);
    assert!(!ran.called("dkms remove") && !ran.failed, "{ran:?}");
}
