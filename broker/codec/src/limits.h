/* What version 1 allows of a window's numbers and texts: `broker/messages.py` in C. */
#ifndef FIELDLOOP_LIMITS_H
#define FIELDLOOP_LIMITS_H

#include "window.h"

/* Refuse a window that version 1 refuses: whoever gets one need not look again. */
void verify_limits(pack *p, const window *w);

#endif
