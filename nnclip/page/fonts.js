// Says which languages the browser cannot show: a character that no font has looks as one that does not exist.
() => {
    const drawn = (text) => {
        const canvas = document.createElement('canvas');
        canvas.width = canvas.height = 24;
        const pen = canvas.getContext('2d', {willReadFrequently: true});
        pen.font = '18px ' + getComputedStyle(document.body).fontFamily;
        pen.fillText(text, 2, 18);
        return pen.getImageData(0, 0, 24, 24).data.join();
    };
    const box = (text) => {  // the same box, or a box round the number of the character
        const [one, other] = ['\u{378}', '\u{379}'].map(drawn);
        return drawn(text) === one || drawn(text) === other || drawn(text) === drawn('\u{10ffff}');
    };
    const tell = () => {
        const lacking = [...document.querySelectorAll('#languages [data-name]')]
            .filter((each) => each.dataset.name && box([...each.textContent][0]));
        const place = document.querySelector('#fonts');
        const names = lacking.map((each) => each.dataset.name).join(', ');
        place.textContent = names && `This browser has no font for ${names}: install one on your `
            + 'system (on Debian and Ubuntu: fonts-noto-cjk, fonts-noto-core).';
    };
    const wait = () => document.querySelector('#languages span')
        ? (tell(), new MutationObserver(tell).observe(
            document.querySelector('#languages'), {childList: true, subtree: true}))
        : setTimeout(wait, 300);
    wait();
}
