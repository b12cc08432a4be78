#!/usr/bin/env bash
# Trains CLIP-ViL on easy-VQA by MMF's own commands, predicts the test split, scores the file.
# What an earlier call has trained stays: an interrupted run goes on, a finished one is tested again.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

bin=${BIN:-.venv/bin}
config=projects/clipvil/configs/easy_vqa.yaml
export MMF_SAVE_DIR=${MMF_SAVE_DIR:-save/easy_vqa}

"$bin/mmf_run" "config=$config" checkpoint.resume=true
"$bin/mmf_predict" "config=$config" checkpoint.resume=true checkpoint.resume_best=true

predictions=$(find "$MMF_SAVE_DIR" -path '*reports*' -name '*.json' -printf '%T@ %p\n' \
    | sort -n | tail -1 | cut -d' ' -f2-)
report=$("$bin/clipvil" check-submission "$predictions" --questions easy_vqa)
echo "$report"
echo "test accuracy: $(sed -n 's/^accuracy: //p' <<< "$report")"
echo "predictions: $predictions"
