#include "file.h"

#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

bool ui_file_begin(struct ui_file *o, const char *path)
{
    struct stat st;
    const bool is_file = stat(path, &st) != 0 || S_ISREG(st.st_mode);
    *o = (struct ui_file){.path = path};
    if (is_file) {
        const int n = snprintf(o->temp, sizeof(o->temp), "%s.%ld", path, (long)getpid());
        if (n < 0 || (size_t)n >= sizeof(o->temp)) {
            errno = ENAMETOOLONG;
            return false;
        }
    }
    o->f = fopen(is_file ? o->temp : path, "w");
    return o->f != NULL;
}

bool ui_file_end(struct ui_file *o)
{
    const bool is_written = fflush(o->f) == 0 && !ferror(o->f);
    const bool is_closed = fclose(o->f) == 0;
    if (is_written && is_closed && (!o->temp[0] || rename(o->temp, o->path) == 0)) {
        return true;
    }
    const int why = errno;
    if (o->temp[0]) {
        unlink(o->temp);
    }
    errno = why;
    return false;
}

bool ui_file_write(const char *path, const char *text, size_t len)
{
    struct ui_file o;
    if (!ui_file_begin(&o, path)) {
        return false;
    }
    fwrite(text, 1, len, o.f); /* its end tells */
    return ui_file_end(&o);
}

enum qx_status ui_file_status(int code)
{
    return code == ENOSPC || code == EDQUOT || code == EFBIG ? QX_ENOSPC : QX_EIO;
}
