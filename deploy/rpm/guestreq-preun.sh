#!/bin/sh
# %preun; $1 is 0 on a removal, 1 on an upgrade, which leaves agent and enforcement alone. Enforcement survives
# the agent and could not be ended without the package, so removal detaches it. `detach`, and so the removal,
# fails under a closed gate, which would then deny every request.

[ "$1" = 0 ] || exit 0
ran=
if [ -d /run/systemd/system ]; then
    case "$(systemctl is-active guestreq.service)" in
    active | activating | reloading) ran=1 ;;
    esac
    systemctl stop guestreq.service || exit 1
fi
if ! /usr/bin/guestreq detach; then
    # rpm then keeps the package, but runs no script that could undo what this one did.
    [ -z "$ran" ] || systemctl start guestreq.service || :
    echo "guestreq: not removed, because its programs are still attached: fix the error above" \
        "(or run 'systemctl stop guestreq' and 'guestreq detach --yes'), then retry" >&2
    exit 1
fi
if command -v systemctl >/dev/null; then
    systemctl --no-reload disable guestreq.service >/dev/null 2>&1 || :
fi
exit 0
