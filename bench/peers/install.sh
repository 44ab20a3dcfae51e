#!/bin/sh
# Install what `python -m bench.peers` compares Tandem with, from the npm registry, outside of this project:
#   bench/peers/install.sh [nodered] [n8n]
# Into the folder that TANDEM_BENCH_PEERS names, by default ~/.cache/tandem-bench-peers.  n8n takes some 2 GB there.
# The versions are the newest ones that run on Node 20.19.
set -eu

# What is compiled while installing needs node's headers; where they are beside node, none have to be fetched.
prefix=$(dirname "$(dirname "$(command -v node)")")
if [ -e "$prefix/include/node/node.h" ]; then
    export npm_config_nodedir="$prefix"
fi

folder=${TANDEM_BENCH_PEERS:-$HOME/.cache/tandem-bench-peers}
[ $# -gt 0 ] || set -- nodered n8n

for peer in "$@"; do
    case $peer in
        nodered) package=node-red@4.1.8 ;;
        n8n) package=n8n@2.8.4 ;;
        *) echo "$0: nodered or n8n, not $peer" >&2; exit 2 ;;
    esac
    mkdir -p "$folder/$peer"
    cd "$folder/$peer"
    # n8n takes its spreadsheet reader from elsewhere than the registry; the one there does for a flow that reads none.
    echo '{"private": true, "overrides": {"xlsx": "0.18.5"}}' > package.json
    echo "$package into $folder/$peer" >&2
    npm install --no-audit --no-fund --omit=dev "$package"
done
