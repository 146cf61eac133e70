#!/bin/sh
# %postun; $1 is 0 on a removal, 1 on an upgrade, after which the new package's %post has restarted the agent.

if [ "$1" = 0 ] && [ -d /run/systemd/system ]; then
    systemctl daemon-reload || :
fi
exit 0
