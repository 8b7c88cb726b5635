/* What people open by mistake: each is recognised by content and answered with its remedy; and
 * remarks on weights that are codes, adapters or scaled. */
#include "test_tensor.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static const struct {
    const char *file;
    const char *bytes;
    int n; /* -1: a string */
    enum qx_status status;
    const char *words[2];
} files[] = {
    {"pointer.safetensors",
     "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 99\n",
     -1,
     QX_EFORMAT,
     {"Git LFS pointer", "git lfs pull"}},
    {"page.safetensors",
     "<!DOCTYPE html><html><body>Sign in</body></html>",
     -1,
     QX_EFORMAT,
     {"web page", "download the file itself"}},
    {"page2.safetensors", "\xef\xbb\xbf\n<HTML><head>", -1, QX_EFORMAT, {"web page", "again"}},
    {"denied.safetensors",
     "<?xml version=\"1.0\"?><Error>AccessDenied</Error>",
     -1,
     QX_EFORMAT,
     {"web page", "again"}},
    {"a.crdownload",
     "\x10\0\0\0\0\0\0\0xxxxxxxxxxxxxxxxxxxxxxxx",
     32,
     QX_EFORMAT,
     {"partial download", "finish"}},
    {"blob.incomplete", "\x10\0\0\0\0\0\0\0", 8, QX_EFORMAT, {"partial download", "again"}},
    {"zeros.safetensors",
     "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"
     "\0\0"
     "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
     64,
     QX_EFORMAT,
     {"partial download", "zeros"}},
    {"pytorch_model.bin",
     "PK\3\4\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x10\0\0\0archive/data.pkl",
     46,
     QX_EUNSUPPORTED,
     {"PyTorch", "torch_to_folder.py"}},
    {"no_extension",
     "PK\3\4\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x10\0\0\0archive/data.pkl",
     46,
     QX_EUNSUPPORTED,
     {"PyTorch", "torch_to_folder.py"}},
    {"old.pt", "\x80\x02\x8a\x0alF\x9c", 7, QX_EUNSUPPORTED, {"pickle", "torch_to_folder.py"}},
    {"model.ckpt", "\x80\x04\x95", 3, QX_EUNSUPPORTED, {"pickle", "torch_to_folder.py"}},
    {"arrays.npz",
     "PK\3\4\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x08\0\0\0w_01.npy",
     38,
     QX_EUNSUPPORTED,
     {"NumPy archive", "safetensors.numpy"}},
    {"bundle.zip",
     "PK\3\4\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x05\0\0\0a.txt",
     35,
     QX_EUNSUPPORTED,
     {"zip archive", "unpack"}},
    {"array.npy", "\x93NUMPY\x01\0", 8, QX_EUNSUPPORTED, {"NumPy array", "safetensors.numpy"}},
    {"net.onnx", "\x08\x07\x12\x07pytorch", 11, QX_EUNSUPPORTED, {"ONNX", "onnx_to_folder.py"}},
    {"net", "\x08\x07\x12\x07pytorch", 11, QX_EUNSUPPORTED, {"ONNX", "onnx_to_folder.py"}},
    {"keras.h5", "\x89HDF\r\n\x1a\n", 8, QX_EUNSUPPORTED, {"HDF5", "safetensors"}},
    {"net.tflite", "\x1c\0\0\0TFL3\0\0", 10, QX_EUNSUPPORTED, {"TensorFlow Lite", "safetensors"}},
    {"w.tar.gz", "\x1f\x8b\x08\0", 4, QX_EUNSUPPORTED, {"gzip", "unpack"}},
    {"config.json", "{\"model_type\":\"bert\"}", -1, QX_EFORMAT, {"weight_map", "open the folder"}},
    {"config.txt", "{\"model_type\":\"bert\"}", -1, QX_EUNSUPPORTED, {"JSON", "open the folder"}},
    {"notes.txt",
     "hello, these are no weights at all",
     -1,
     QX_EFORMAT,
     {"header length", "no safetensors file"}},
    {"empty.safetensors", "", -1, QX_EFORMAT, {"0 bytes", "partial download"}},
};

static void wrong_files_are_answered_with_their_remedy(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        struct qx_model *m = NULL;
        struct qx_error err = {0};
        char file[64];
        snprintf(file, sizeof file, "wrong/%s", files[i].file);
        scratch_write(file, files[i].bytes,
                      files[i].n < 0 ? strlen(files[i].bytes) : (size_t)files[i].n);
        enum qx_status st = qx_model_open(scratch_path(file), &m, &err);
        if (st != files[i].status || !strstr(err.text, files[i].words[0]) ||
            !strstr(err.text, files[i].words[1]) || !strstr(err.text, files[i].file)) {
            fail_msg("%s: status %d: %s", file, (int)st, err.text);
        }
    }
}

static const char tiny[] = "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}";

static const struct {
    const char *dir;
    const char *files[3];
    const char *words;
} folders[] = {
    {"nothing", {"README.md"}, "no .safetensors file"},
    {"adapter", {"adapter_config.json", "adapter_model.safetensors"}, "adapter (LoRA)"},
    {"torch", {"config.json", "pytorch_model.bin"}, "torch_to_folder.py"},
    {"onnx", {"model.onnx"}, "onnx_to_folder.py"},
    {"gguf", {"a-Q4_K_M.gguf", "a-Q8_0.gguf"}, "several .gguf"},
    {"keras", {"saved_model.pb"}, "TensorFlow"},
    {"unfinished", {"model.safetensors.incomplete"}, "unfinished download"},
    {"several", {"a.safetensors", "b.safetensors"}, "several .safetensors"},
    {"shards", {"m-00001-of-00002.safetensors", "m-00002-of-00002.safetensors"}, "index.json"},
};

static void folders_without_weights_are_explained(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) {
        struct qx_model *m = NULL;
        struct qx_error err = {0};
        for (int k = 0; k < 3 && folders[i].files[k]; k++) {
            char file[128];
            snprintf(file, sizeof file, "f-%s/%s", folders[i].dir, folders[i].files[k]);
            scratch_safetensors(file, tiny, -1, "\0\0\0\0", 4);
        }
        char dir[64];
        snprintf(dir, sizeof dir, "f-%s", folders[i].dir);
        enum qx_status st = qx_model_open(scratch_path(dir), &m, &err);
        if (st != QX_EUNSUPPORTED || !strstr(err.text, folders[i].words)) {
            fail_msg("%s: status %d: %s", dir, (int)st, err.text);
        }
    }
}

static void missing_paths_get_a_hint(void **state)
{
    (void)state;
    struct qx_model *m = NULL;
    struct qx_error err = {0};
    scratch_safetensors("hint/bert.safetensors", tiny, -1, "\0\0\0\0", 4);
    assert_int_equal(qx_model_open(scratch_path("hint/brt.safetensors"), &m, &err), QX_EIO);
    assert_non_null(strstr(err.text, "did you mean"));
    assert_non_null(strstr(err.text, "hint/bert.safetensors"));
    assert_int_equal(qx_model_open("no-such-org/some-model", &m, &err), QX_EIO);
    assert_non_null(strstr(err.text, "hf download no-such-org/some-model"));
    assert_int_equal(qx_model_open("/no/such/place/x.safetensors", &m, &err), QX_EIO);
    assert_non_null(strstr(err.text, "no such folder"));
    assert_null(strstr(err.text, "hf download"));
    assert_int_equal(qx_model_open("/dev/null", &m, &err), QX_EIO);
    assert_int_equal(qx_model_open("", &m, &err), QX_EIO);
}

static const struct {
    const char *names[3]; /* "dtype name" */
    const char *config;
    const char *words; /* NULL: no note */
} notes[] = {
    {{"F32 a.weight"}, NULL, NULL},
    {{"I32 l.qweight", "F16 l.scales", "I32 l.g_idx"}, NULL, "GPTQ packing"},
    {{"I32 l.qweight", "F16 l.scales"},
     "{\"quantization_config\":{\"quant_method\":\"awq\"}}",
     "AWQ packing"},
    {{"I32 l.qweight", "F16 l.scales"}, NULL, "GPTQ or AWQ"},
    {{"I32 l.weight_packed", "F16 l.weight_scale"}, NULL, "compressed-tensors"},
    {{"I8 l.weight", "F16 l.weight_scale"}, NULL, "compressed-tensors"},
    {{"I8 l.weight"}, NULL, NULL},
    {{"F32 q.lora_A.weight", "F32 q.lora_B.weight"}, NULL, "adapter"},
    {{"F8_E4M3 l.weight"}, NULL, "without their scale"},
    {{"F8_E4M3 l.weight", "F32 l.weight_scale"}, NULL, "before their scale"},
    {{"F8_E4M3 l.weight", "F32 l.weight_scale_inv"}, NULL, "before their scale"},
    {{"F8_E5M2 l.weight", "F32 l.scale_weight"}, NULL, "before their scale"},
};

static void weights_that_are_codes_are_remarked(void **state)
{
    (void)state;
    static const uint8_t data[64];
    for (size_t i = 0; i < sizeof notes / sizeof *notes; i++) {
        char header[1024] = "{";
        char file[64], dir[64];
        int at = 0;
        for (int k = 0; k < 3 && notes[i].names[k]; k++) {
            char dtype[16], name[64];
            enum qx_dtype d = QX_DTYPE_F32;
            size_t n = strlen(header);
            assert_int_equal(sscanf(notes[i].names[k], "%15s %63s", dtype, name), 2);
            assert_true(qx_dtype_find(dtype, &d));
            int bytes = qx_dtype_get(d)->bits / 8;
            snprintf(header + n, sizeof header - n,
                     "%s\"%s\":{\"dtype\":\"%s\",\"shape\":[1],\"data_offsets\":[%d,%d]}",
                     k ? "," : "", name, dtype, at, at + bytes);
            at += bytes;
        }
        strcat(header, "}");
        snprintf(file, sizeof file, "note%zu/model.safetensors", i);
        scratch_safetensors(file, header, -1, data, (size_t)at);
        if (notes[i].config) {
            snprintf(file, sizeof file, "note%zu/config.json", i);
            scratch_write(file, notes[i].config, strlen(notes[i].config));
        }
        snprintf(dir, sizeof dir, "note%zu", i);
        struct qx_model *m = open_ok(scratch_path(dir));
        const char *note = qx_model_note(m);
        if (notes[i].words ? !note || !strstr(note, notes[i].words) : note != NULL) {
            fail_msg("case %zu: note is '%s'", i, note ? note : "(none)");
        }
        qx_model_close(&m);
    }
}

/* ---- discovery ---- */

static bool is_found(const struct qx_found_list *l, const char *end, const char *where,
                     const char *what)
{
    for (int i = 0; i < qx_found_n(l); i++) {
        const struct qx_found *f = qx_found_get(l, i);
        size_t n = strlen(f->path), m = strlen(end);
        if (n >= m && strcmp(f->path + n - m, end) == 0) {
            return strcmp(f->where, where) == 0 && strstr(f->what, what) && f->bytes > 0;
        }
    }
    return false;
}

static void discovery_looks_where_models_lie(void **state)
{
    (void)state;
    char cwd[512], home[512], samples[512], link[512];
    static const char hub[] = "home/.cache/huggingface/hub/models--org--m/";
    static const struct {
        const char *file;
    } put[] = {
        {"find/one/model.safetensors"},
        {"find/one/graph.json"},
        {"find/a/b/model.safetensors"},
        {"find/a/b/c/model.safetensors"}, /* inside a model folder */
        {"find/x/y/z/model.safetensors"}, /* too deep */
        {"find/loose.safetensors"},
        {"find/set/model.safetensors.index.json"},
        {"find/set/model-00001-of-00002.safetensors"},
        {"find/set/model-00002-of-00002.safetensors"},
        {"find/samples/s1/model.safetensors"},
        {"find/eval.safetensors"},
    };
    for (size_t i = 0; i < sizeof put / sizeof *put; i++) {
        scratch_safetensors(put[i].file, tiny, -1, "\0\0\0\0", 4);
    }
    scratch_write("home/.lmstudio/models/pub/m/w.gguf", "GGUF\3\0\0\0", 8);
    scratch_write("home/.ollama/models/blobs/sha256-1", "GGUF\3\0\0\0", 8);
    scratch_write("home/.ollama/models/blobs/sha256-2", "{\"template\":1}", 14);
    char name[256];
    snprintf(name, sizeof name, "%sblobs/abc", hub);
    scratch_safetensors(name, tiny, -1, "\0\0\0\0", 4);
    snprintf(name, sizeof name, "%ssnapshots/rev1/config.json", hub);
    scratch_write(name, "{}", 2);
    snprintf(name, sizeof name, "%ssnapshots/rev1/model.safetensors", hub);
    snprintf(link, sizeof link, "%s", scratch_path(name));
    assert_int_equal(symlink("../../blobs/abc", link), 0);

    snprintf(cwd, sizeof cwd, "%s", scratch_path("find"));
    snprintf(home, sizeof home, "%s", scratch_path("home"));
    snprintf(samples, sizeof samples, "%s", scratch_path("find/./samples"));
    struct qx_found_list *l = qx_model_discover(cwd, samples, home);
    assert_non_null(l);
    assert_true(is_found(l, "find/one", "this folder", "model folder"));
    assert_true(is_found(l, "a/b", "this folder", "safetensors"));
    assert_true(is_found(l, "loose.safetensors", "this folder", "safetensors"));
    assert_true(is_found(l, "find/set", "this folder", "sharded, 2 files"));
    assert_true(is_found(l, "samples/s1", "samples", "safetensors"));
    assert_true(is_found(l, "snapshots/rev1", "Hugging Face cache", "model folder"));
    assert_true(is_found(l, "sha256-1", "Ollama", "GGUF"));
    assert_true(is_found(l, "w.gguf", "LM Studio", "GGUF"));
    assert_int_equal(qx_found_n(l), 8);
    for (int i = 0; i < qx_found_n(l); i++) { /* what is offered opens, or says why not */
        struct qx_model *m = NULL;
        struct qx_error err = {0};
        enum qx_status st = qx_model_open(qx_found_get(l, i)->path, &m, &err);
        bool is_gguf = strstr(qx_found_get(l, i)->what, "GGUF") != NULL;
        bool is_set = strstr(qx_found_get(l, i)->what, "sharded") != NULL; /* its index is none */
        assert_true(is_gguf || is_set ? st != QX_OK : st == QX_OK);
        qx_model_close(&m);
    }
    qx_found_free(l);
    l = qx_model_discover("/no/such/place", NULL, NULL);
    assert_int_equal(qx_found_n(l), 0);
    qx_found_free(l);
    qx_found_free(NULL);
}

int test_tensor_wrong(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(wrong_files_are_answered_with_their_remedy),
        cmocka_unit_test(folders_without_weights_are_explained),
        cmocka_unit_test(missing_paths_get_a_hint),
        cmocka_unit_test(weights_that_are_codes_are_remarked),
        cmocka_unit_test(discovery_looks_where_models_lie),
    };
    return cmocka_run_group_tests_name("tensor: wrong files", tests, NULL, NULL);
}
