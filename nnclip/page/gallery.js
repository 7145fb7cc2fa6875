// What happens in the browser to the hits of a search. `element` holds them, `trigger` tells the server.
// Whatever a file is called stays text: nothing here makes HTML of it.

const tiles = () => [...element.querySelectorAll('.tile')];

// more: the next hits come into another part of the page, and are put behind those that are there
const coming = () => document.querySelector('#coming');
const next = () => {
    const button = element.querySelector('.more');
    if (!button || button.disabled) return;
    button.disabled = true;
    trigger('input', {start: Number(button.dataset.start)});
};
const watcher = new IntersectionObserver((seen) => {
    if (seen.some((each) => each.isIntersecting)) next();
}, {rootMargin: '600px'});
const arrived = () => {
    const page = coming().querySelector('.page');
    const button = element.querySelector('.more');
    const shown = element.querySelector('.found');
    if (!page || !button || page.dataset.question !== shown.dataset.question) return;
    if (page.dataset.start !== button.dataset.start) return;
    const items = [...page.children].map((each) => each.cloneNode(true));
    element.querySelector('.grid').append(...items);
    button.dataset.start = page.dataset.next;
    button.disabled = false;
    button.hidden = !page.dataset.next;
    if (button.hidden) button.remove();
    if (box.open && waiting) { waiting = false; step(1); }
    observe();
};
const observe = () => {
    watcher.disconnect();
    const button = element.querySelector('.more');
    if (button) watcher.observe(button);
};
new MutationObserver(observe).observe(element, {childList: true, subtree: true});
const await_coming = () => coming()
    ? new MutationObserver(arrived).observe(coming(), {childList: true, subtree: true})
    : setTimeout(await_coming, 100);
await_coming();
observe();

// the lightbox
const make = (tag, kind, text) => {
    const made = document.createElement(tag);
    made.className = kind;
    if (text) made.textContent = text;
    return made;
};
document.querySelector('#lightbox')?.remove();
const box = make('dialog', '');
box.id = 'lightbox';
box.setAttribute('aria-label', 'Image');
const image = make('img', 'large');
const title = make('p', 'title'), path = make('p', 'path'), facts = make('p', 'facts');
const button = (text, act, name) => {
    const made = make('button', name || '', text);
    made.type = 'button';
    made.addEventListener('click', act);
    return made;
};
const link = (text) => make('a', '', text);
const original = link('Original'), download = link('Download');
original.target = '_blank';
original.rel = 'noopener';
let at = -1, waiting = false;
const copy = button('Copy path', () => navigator.clipboard.writeText(path.textContent).then(() => {
    copy.textContent = 'Copied';
    setTimeout(() => { copy.textContent = 'Copy path'; }, 1500);
}));
const alike = button('More like this', () => {
    box.close();
    trigger('select', {token: tiles()[at].dataset.token});
});
const back = button('‹', () => step(-1), 'arrow before'), on = button('›', () => step(1), 'arrow after');
back.setAttribute('aria-label', 'Previous image');
on.setAttribute('aria-label', 'Next image');
const close = button('×', () => box.close(), 'close');
close.setAttribute('aria-label', 'Close');
const actions = make('div', 'actions');
actions.append(original, download, copy, alike);
const told = make('div', 'told');
told.append(title, path, facts, actions);
box.append(back, image, on, told, close);
document.body.append(box);

const show = (place) => {
    const tile = tiles()[place];
    if (!tile) return;
    at = place;
    const where = `/photos/${tile.dataset.token}/`;
    image.src = where + '1600';
    image.alt = tile.dataset.name;
    title.textContent = tile.dataset.name;
    path.textContent = tile.dataset.path;
    facts.textContent = tile.dataset.facts;
    original.href = download.href = where + 'original';
    download.download = tile.dataset.name;
    back.disabled = place === 0;
    on.disabled = place === tiles().length - 1 && !element.querySelector('.more');
    if (!box.open) box.showModal();
};
const step = (by) => {
    if (tiles()[at + by]) return show(at + by);
    if (by > 0) { waiting = true; next(); }
};
box.addEventListener('keydown', (event) => {
    if (event.key === 'ArrowLeft') step(-1);
    if (event.key === 'ArrowRight') step(1);
});
box.addEventListener('click', (event) => { if (event.target === box) box.close(); });
box.addEventListener('close', () => { image.removeAttribute('src'); tiles()[at]?.querySelector('.open').focus(); });
let touched = 0;
box.addEventListener('touchstart', (event) => { touched = event.changedTouches[0].clientX; }, {passive: true});
box.addEventListener('touchend', (event) => {
    const moved = event.changedTouches[0].clientX - touched;
    if (Math.abs(moved) > 50) step(moved < 0 ? 1 : -1);
}, {passive: true});

element.addEventListener('click', (event) => {
    const tile = event.target.closest('.tile');
    if (event.target.closest('.more')) next();
    else if (event.target.closest('.unlike')) trigger('select', {token: ''});
    else if (event.target.closest('.alike')) trigger('select', {token: tile.dataset.token});
    else if (event.target.closest('.open')) show(tiles().indexOf(tile));
});
element.addEventListener('error', (event) => event.target.closest?.('.tile')?.classList.add('gone'), true);
