#!/usr/bin/env bash
# Regenerates packages/wire/src/gen from proto/. The result is committed; building devmgr does not need this.
set -euo pipefail
cd "$(dirname "$0")"
npm install --silent
node_modules/.bin/buf generate ../../proto --template buf.gen.yaml
