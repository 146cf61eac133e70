#!/bin/sh
# %post; $1 is 1 on an installation, more on an upgrade. On an upgrade rpm runs this before %preun and %postun
# of the old package, when all new files are in place. So the new package restarts the agent, here, and not
# the old one. Enforcement stays pinned in the kernel until the new agent adopts it.

if [ "$1" = 1 ] && command -v systemctl >/dev/null; then
    # The administrator's presets decide. By default, rpm distributions enable no service.
    systemctl --no-reload preset guestreq.service >/dev/null 2>&1 || :
fi
if [ -d /run/systemd/system ]; then
    systemctl daemon-reload || :
    # Only an agent that runs: one that was stopped stays so.
    if [ "$1" -gt 1 ]; then
        # With --stay the agent keeps running if it cannot attach, and reports why.
        systemctl try-restart guestreq.service ||
            echo "guestreq: the agent did not start, see 'systemctl status guestreq'" >&2
    fi
fi
exit 0
