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

reports=$MMF_SAVE_DIR/easy_vqa_clipvil_1/reports
newest='import json, sys; print(json.load(sys.stdin)["easy_vqa"]["file"])'
predictions=$reports/$("$bin/python" -c "$newest" < "$reports/latest.json")
report=$("$bin/clipvil" check-submission "$predictions" --questions easy_vqa)
echo "$report"
echo "test accuracy: $(sed -n 's/^accuracy: //p' <<< "$report")"
echo "predictions: $predictions"
