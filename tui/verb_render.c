/* qexplore render: one screen, drawn without a terminal. */
#include "ui.h"
#include "verb.h"

const struct ui_verb ui_verb_render = {
    .name = "render",
    .usage = "MODEL --screen S [--size WxH] [--play LOG] [-o FILE]",
    .help = "Draw a screen without a terminal, as text, ANSI or SVG by the ending of -o.",
    .example = "qexplore render samples/fashion-cnn --screen layer --size 100x30 -o layer.svg",
    .groups = UI_FLAGS_COMMON | UI_FLAGS_SESSION | UI_FLAGS_SCREEN | UI_FLAGS_RENDER,
    .min_positional = 1,
    .max_positional = 1,
    .run = ui_render,
};
