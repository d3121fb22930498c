#!/bin/sh
# Ask a vaekit service with curl (7.84 or newer):  curl.sh URL MODEL ROWS.json
#
# ROWS.json holds {"rows": [{"column": value, ...}, ...]}. A key, if the service wants one: export VAEKIT_API_KEY=...
set -eu
url=$1 model=$2 rows=$3

# curl repeats after 408, 429 and 5xx, as late as Retry-After says, and when nobody answers: questions change nothing. The
# key stays out of the process list.
key=${VAEKIT_API_KEY:+"header = \"Authorization: Bearer $VAEKIT_API_KEY\""}
ask() {
    printf '%s\n' "$key" | curl --config - --silent --show-error --fail-with-body --max-time 30 \
        --retry 4 --retry-connrefused "$@"
}

echo "models:"
ask "$url/v1/models"
echo

# The service drops the question after ten seconds: by then nobody would read the answer.
echo "scores:"
ask "$url/v1/models/$model/score?attribution=true" \
    --header 'Content-Type: application/json' --header 'X-Request-Timeout: 10' --data-binary "@$rows"
echo

# Options can stand in the URL or in the body. Every answer has an id, which feedback refers to.
echo "alarms, and the id of the answer:"
id=$(ask "$url/v1/models/$model/detect?alpha=0.1" --header 'Content-Type: application/json' \
    --data-binary "@$rows" --output /dev/stderr --write-out '%header{x-request-id}')
echo
echo "$id"

echo "feedback on its first row:"
ask "$url/v1/feedback" --header 'Content-Type: application/json' \
    --data "{\"request_id\": \"$id\", \"row\": 0, \"outcome\": false}"
echo
