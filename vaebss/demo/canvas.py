"""What the demo draws on: black squares in the browser, each a layer, which take a mouse, a pen or a finger at once."""

from typing import Any

LAYERS = 4
SIDE = 280  # pixels of a layer's drawing

TEMPLATE = "".join(
    f'<div><canvas width="{SIDE}" height="{SIDE}" aria-label="Layer {number}"></canvas>'
    f'<button aria-label="Clear layer {number}" title="Clear">&times;</button></div>'
    for number in range(1, LAYERS + 1)
)

STYLE = """
display: grid; grid-template-columns: 1fr 1fr; gap: 6px;
div { position: relative; }
canvas { width: 100%; aspect-ratio: 1; display: block; background: black; border-radius: 6px; cursor: crosshair;
  touch-action: none; }
button { position: absolute; top: 0; right: 0; width: 32px; height: 32px; padding: 0 !important;
  background: none !important; color: #aaa !important; font-size: 20px; line-height: 1; }
"""

# The value is a list of pictures as data URLs, a layer's each, "" where there is none. It is sent while one draws.
SCRIPT = """
const canvases = [...element.querySelectorAll('canvas')], layers = canvases.map(() => ''), drawn = new Set();
let due;

function send() {
  due ??= setTimeout(() => {
    due = undefined;
    drawn.forEach(number => { layers[number] = canvases[number].toDataURL(); });
    drawn.clear();
    props.value = [...layers];
  }, 150);
}

function clear(number) {
  canvases[number].getContext('2d').clearRect(0, 0, canvases[number].width, canvases[number].height);
  layers[number] = '';
  drawn.delete(number);
}

canvases.forEach((canvas, number) => {
  const pen = canvas.getContext('2d');
  Object.assign(pen, { strokeStyle: 'white', lineWidth: 24, lineCap: 'round', lineJoin: 'round' });
  pen.imageSmoothingEnabled = false;
  function draw(event) {
    const scale = canvas.width / canvas.clientWidth;
    pen.lineTo(event.offsetX * scale, event.offsetY * scale);
    pen.stroke();
    drawn.add(number);
    send();
  }
  canvas.addEventListener('pointerdown', event => {
    canvas.setPointerCapture(event.pointerId);
    pen.beginPath();
    draw(event); // begins the line
    draw(event); // so that a touch is a dot
  });
  canvas.addEventListener('pointermove', event => { if (event.buttons) draw(event); });
  canvas.nextElementSibling.addEventListener('click', () => { clear(number); send(); });
});

watch('value', () => props.value.forEach((picture, number) => {
  if (picture === layers[number]) return;
  clear(number);
  layers[number] = picture;
  if (!picture) return;
  const image = new Image();
  image.onload = () => canvases[number].getContext('2d').drawImage(image, 0, 0, SIDE, SIDE);
  image.src = picture;
}));
""".replace("SIDE", str(SIDE))


def canvases(gr: Any) -> Any:
    """The squares as a component of Gradio's, whose value is a list of LAYERS data URLs, "" where there is nothing."""
    return gr.HTML(empty(), html_template=TEMPLATE, css_template=STYLE, js_on_load=SCRIPT, elem_id="layers")


def empty() -> list[str]:
    """What they hold when nothing is drawn."""
    return [""] * LAYERS
