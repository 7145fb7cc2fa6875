#!/bin/sh
# Makes assets/nnclip.h5 again, from drawing its pictures to measuring it. Interrupted, it goes on
# where it stopped. Use: scripts/bundled_model.sh [FOLDER]
set -eu
cd "$(dirname "$0")/.."
python=.venv/bin/python
out=${1:-runs/bundled}
others=es,ja,ko,pt,it,fr,de,fa,id,zh,ru,tr,ar
splits='heldout heldout-scenes heldout-workers heldout-pairs heldout-shapes heldout-styles'

draw() { # FOLDER SPLIT COUNT SEED LANGUAGES CAPTIONS [FLAGS]
    folder=$1 split=$2 count=$3 seed=$4 languages=$5 captions=$6
    shift 6
    [ -f "$out/$folder/pairs.csv" ] || $python -m nnclip draw-pairs "$out/$folder" \
        --split "$split" --count "$count" --seed "$seed" --size 72 \
        --languages "$languages" --captions "$captions" "$@"
}
draw train train 120000 412 en,en,en,$others 4 # three captions in sixteen are English
# forms are learnt last, and slowly: of the pictures of further runs half are single shapes
for seed in 414 415 416; do
    draw "train-$seed" train 60000 $seed en,en,en,$others 4 \
        --kinds shape=45,shapes=8,worker=20,scene=17,pair=10 --alike 0.75
done
# and last, that others render the same things otherwise and call them by their bare names
draw train-417 train 60000 417 en,en,en,$others,ja 4 \
    --kinds scene=48,worker=20,pair=8,shape=16,shapes=8 --alike 0.6 --loose 0.6
for split in $splits; do
    draw "$split" "$split" 1000 413 en,$others 0 # one caption in each language
done
[ -f "$out/vocabulary.json" ] || $python -m nnclip train-tokenizer "$out/train/pairs.csv" \
    --column title --vocab-size 6000 --lowercase -o "$out/vocabulary.json"

train() { # FOLDER DATA STEPS FLAGS
    folder=$1 data=$2 steps=$3
    shift 3
    $python train.py --train-txt-path "$out/$data/pairs.csv" -m "$out/$folder" -i "$steps" "$@" \
        -b 128 --weight-decay 0.1 --seed 412 -t half --keep-together 8 \
        --model-save-interval 250 --resume latest
}
train run train 5000 --model bundled --tokenizer "$out/vocabulary.json" --lr 1e-3 -wi 300
forms() { # FOLDER DATA STEPS FROM
    train "$1" "$2" "$3" -ft --model-load-path "$out/$4/model.h5" \
        --batch-norm trained --lr 6e-4 -wi 100
}
forms run-414 train-414 1800 run
forms run-415 train-415 1300 run-414
forms run-416 train-416 2000 run-415
forms run-417 train-417 2000 run-416
# a quarter of the weights before: what the last run forgot comes back
[ -f "$out/mean.h5" ] || $python -m nnclip average "$out/run-416/model.h5" "$out/run-417/model.h5" \
    --alpha 0.75 -o "$out/mean.h5"

$python - "$out/mean.h5" assets/nnclip.h5 "en,$others" <<'EOF'
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
$python benchmarks/plain_emoji.py --model assets/nnclip.h5 # another program's emoji
