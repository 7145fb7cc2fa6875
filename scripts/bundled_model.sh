#!/bin/sh
# Makes assets/nnclip.h5 again, from drawing its pictures to measuring it. Interrupted, it goes on
# where it stopped. Use: scripts/bundled_model.sh [FOLDER]
set -eu
cd "$(dirname "$0")/.."
python=.venv/bin/python
out=${1:-runs/bundled}

draw() { # SPLIT COUNT SEED
    [ -f "$out/$1/pairs.csv" ] || $python -m nnclip draw-pairs "$out/$1" \
        --split "$1" --count "$2" --seed "$3" --size 72 --languages en
}
draw train 160000 412
for split in heldout-scenes heldout-workers heldout-pairs heldout-shapes; do
    draw $split 1000 413
done
[ -f "$out/vocabulary.json" ] || $python -m nnclip train-tokenizer "$out/train/pairs.csv" \
    --column title --vocab-size 3000 --lowercase -o "$out/vocabulary.json"

$python train.py --model bundled --tokenizer "$out/vocabulary.json" \
    --train-txt-path "$out/train/pairs.csv" --val-txt-path "$out/heldout-scenes/pairs.csv" \
    -b 128 --lr 1e-3 -wi 300 -i 2500 --weight-decay 0.1 --seed 412 -t half \
    --val-interval 750 --model-save-interval 250 -m "$out/run" --resume latest

$python - "$out/run/model.h5" assets/nnclip.h5 <<'EOF'
import sys

from nnclip.clip import CLIP

CLIP(sys.argv[1]).save(sys.argv[2], half=True)
EOF
for split in heldout-scenes heldout-workers heldout-pairs heldout-shapes; do
    $python -m nnclip evaluate retrieval "$out/$split/pairs.csv"
done
