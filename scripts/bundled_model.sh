#!/bin/sh
# Makes assets/nnclip.h5 again, from drawing its pictures to measuring it. Interrupted, it goes on
# where it stopped. Use: scripts/bundled_model.sh [FOLDER]
set -eu
cd "$(dirname "$0")/.."
python=.venv/bin/python
out=${1:-runs/bundled}
others=es,ja,ko,pt,it,fr,de,fa,id,zh,ru,tr,ar
splits='heldout heldout-scenes heldout-workers heldout-pairs heldout-shapes'

draw() { # SPLIT COUNT SEED LANGUAGES CAPTIONS
    [ -f "$out/$1/pairs.csv" ] || $python -m nnclip draw-pairs "$out/$1" \
        --split "$1" --count "$2" --seed "$3" --size 72 --languages "$4" --captions "$5"
}
draw train 120000 412 en,en,en,$others 4 # three captions in sixteen are English
for split in $splits; do
    draw "$split" 1000 413 en,$others 0 # one caption in each language
done
[ -f "$out/vocabulary.json" ] || $python -m nnclip train-tokenizer "$out/train/pairs.csv" \
    --column title --vocab-size 6000 --lowercase -o "$out/vocabulary.json"

$python train.py --model bundled --tokenizer "$out/vocabulary.json" \
    --train-txt-path "$out/train/pairs.csv" \
    -b 128 --lr 1e-3 -wi 400 -i 6000 --weight-decay 0.1 --seed 412 -t half --keep-together 8 \
    --model-save-interval 250 -m "$out/run" --resume latest

$python - "$out/run/model.h5" assets/nnclip.h5 "en,$others" <<'EOF'
import sys

from nnclip.clip import CLIP

model = CLIP(sys.argv[1])
model.metadata["languages"] = sys.argv[3].replace(",", " ")  # the page offers them
model.save(sys.argv[2], half=True)
EOF
for split in $splits; do
    $python -m nnclip evaluate retrieval "$out/$split/pairs.csv" --language all
done
for kind in workers shapes; do # a picture among all people, all coloured shapes
    awk -F '\t' 'NR == 1 || $5 == "en"' "$out/heldout-$kind/pairs.csv" > "$out/heldout-$kind/en.csv"
    $python -m nnclip evaluate zero-shot "$out/heldout-$kind/en.csv" \
        --classes "$out/heldout-$kind/$kind.en.txt" --templates '{}'
done
