/* Messages of version 1 of the channel telemetry: MessagePack, as `broker/messages.py` writes it. */
#ifndef FIELDLOOP_MESSAGE_H
#define FIELDLOOP_MESSAGE_H

#include "window.h"

/* Bytes that grow as they are written. */
typedef struct {
    uint8_t *bytes;
    size_t size, capacity;
    bool has_no_memory;
} output;

/* Append a window's message. */
void write_message(output *out, const pack *p, const window *w);
/* Read a message into a window, its counts into the pack's store; refuses what a pack does not carry. */
void read_message(pack *p, window *w, const uint8_t *bytes, size_t size);

#endif
