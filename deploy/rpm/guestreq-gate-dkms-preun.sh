#!/bin/sh
# %preun; $1 is 0 on a removal, 1 on an upgrade. A loaded module stays until `rmmod guestreq_gate` or a reboot,
# so that enforcement survives an upgrade.

module="-m guestreq-gate -v @VERSION@"
[ -n "$(dkms status $module)" ] || exit 0
dkms remove $module --all --rpm_safe_upgrade && exit 0
if [ "$1" = 0 ]; then
    # rpm keeps the package, and runs no other script: restore the module for the next boot.
    dkms install $module --rpm_safe_upgrade || :
    echo "guestreq-gate-dkms: not removed: fix the error above, then retry" >&2
    exit 1
fi
# A failure would leave both versions installed.
echo "guestreq-gate-dkms: dkms still has the old version: run 'dkms remove guestreq-gate/@VERSION@ --all'" >&2
exit 0
