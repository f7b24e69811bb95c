#!/usr/bin/env bash
# Passes the tests on a current LTS of Node, fetched as an npm package and kept out of the project.
# Arguments go to vitest.
set -euo pipefail
cd "$(dirname "$0")/.."
version=${NODE_LTS:-24}
platform="$(node -p 'process.platform + "-" + process.arch')"
folder="node_modules/.cache/node-$version"
node="$folder/node_modules/node-$platform/bin/node"
if [ ! -x "$node" ]; then
  mkdir -p "$folder"
  echo '{"private":true}' > "$folder/package.json"
  if ! npm install --prefix "$folder" --no-save --no-audit --no-fund --silent "node-$platform@$version"; then
    echo "SKIPPED: Node $version for $platform cannot be had from the package registry" >&2
    exit 3
  fi
fi
echo "Node $("$node" --version)"
exec "$node" node_modules/vitest/vitest.mjs run "$@"
