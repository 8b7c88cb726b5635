#include "qx/status.h"

const char *qx_status_text(enum qx_status status)
{
    static const char *const texts[] = {
#define QX_STATUS_TEXT(name, text) text,
        QX_STATUS_LIST(QX_STATUS_TEXT)
#undef QX_STATUS_TEXT
    };
    return (unsigned)status < sizeof texts / sizeof *texts ? texts[status] : "unknown status";
}
