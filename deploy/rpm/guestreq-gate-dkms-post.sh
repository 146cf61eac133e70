#!/bin/sh
# %post. Builds the module for all kernels with headers. On an upgrade rpm runs this before %preun of the old
# package, which removes the old version. With --rpm_safe_upgrade dkms installs this version over it, whatever
# their order, and a reinstallation's %preun, of the same version, does not remove it again.

module="-m guestreq-gate -v @VERSION@"
headers=
failed=
# Fails when the package is reinstalled.
dkms add $module --rpm_safe_upgrade >/dev/null 2>&1 || :
for build in /usr/lib/modules/*/build; do
    # A link to nowhere, while there are no headers.
    [ -d "$build/include" ] || continue
    headers=1
    kernel=${build%/build}
    kernel=${kernel##*/}
    case "$(dkms status $module -k "$kernel")" in
    *installed*) continue ;;
    esac
    status=0
    dkms install $module -k "$kernel" --rpm_safe_upgrade || status=$?
    # 77: dkms.conf excludes this kernel.
    [ $status = 0 ] || [ $status = 77 ] || failed="$failed $kernel"
done
if [ -z "$headers" ]; then
    echo "guestreq_gate is not built yet: install kernel-devel (openSUSE: kernel-default-devel) of the" \
        "running kernel, then run 'dkms autoinstall' and 'modprobe guestreq_gate'" >&2
elif [ -d /run/systemd/system ]; then
    modprobe guestreq_gate 2>/dev/null ||
        echo "guestreq_gate could not be loaded (no SNP host, Secure Boot?): run 'guestreq doctor'" >&2
fi
if [ -n "$failed" ]; then
    echo "guestreq_gate was not built for$failed: see /var/lib/dkms/guestreq-gate/@VERSION@/build/make.log" >&2
    exit 1
fi
exit 0
