/* qexplore play: replay a recorded command log. */
#include "ui.h"
#include "verb.h"

const struct ui_verb ui_verb_play = {
    .name = "play",
    .usage = "MODEL LOG [--speed X] [--size WxH]",
    .help = "Replay a command log that --record wrote; its dump lines write screens.",
    .example = "qexplore play samples/fashion-cnn lecture.qxlog --speed 1",
    .groups = UI_FLAGS_COMMON | UI_FLAGS_SESSION | UI_FLAGS_SCREEN | UI_FLAGS_RENDER,
    .min_positional = 2,
    .max_positional = 2,
    .run = ui_play,
};
