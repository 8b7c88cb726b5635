/* Any bytes as a file of records (the first byte chooses TSV, CSV, JSON lines or plain lines): refused with a line,
 * or read into texts of UTF-8. */
#include "fuzz.h"

#include "base/fs.h"
#include "base/str.h"
#include "eval/records.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const endings[] = {"tsv", "csv", "jsonl", "txt"};
    char path[64];
    struct qx_records r;
    struct qx_error err;
    if (size == 0) {
        return 0;
    }
    snprintf(path, sizeof path, "fuzz_records_%d.%s", (int)getpid(), endings[data[0] % 4]);
    if (qx_fs_write_atomic(path, data + 1, size - 1, &err) != QX_OK) {
        return 0;
    }
    const enum qx_status st = qx_records_read(path, NULL, NULL, &r, &err);
    unlink(path);
    if (st != QX_OK) {
        fuzz_check(st == QX_EDATA || st == QX_EFORMAT, "only the data can be wrong");
        fuzz_check(strlen(err.text) > 10, "the message says something");
        return 0;
    }
    fuzz_check(r.n > 0, "there are rows");
    for (int64_t i = 0; i < r.n; i++) {
        fuzz_check(qx_utf8_valid(r.row[i].text, r.row[i].len), "texts are UTF-8");
        fuzz_check(r.row[i].line > 0, "lines are numbered");
    }
    qx_records_release(&r);
    return 0;
}
