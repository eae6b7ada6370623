/* What is being waited for, what has been counted, and how it is told: one JSON object per line.
 *
 * Times are CLOCK_MONOTONIC in seconds, which Python's time.monotonic() shares on Linux.
 */
#ifndef ROUNDS_H
#define ROUNDS_H

#include "ads.h"

enum { LABEL_MAX = 63 };

/* A round lasts from one command until `expected` streams have acknowledged something of the type and
 * nothing came for `quiet` seconds. A stream's time is that of its last ACK in the round. */
typedef struct {
    bool is_running;
    char label[LABEL_MAX + 1];
    int type; /* of Type, or TYPES for any */
    uint32_t expected, streams;
    double quiet, first, last;
    double *acked; /* by stream; 0: not yet */
    uint64_t responses, resources, removed, bytes;
    uint32_t *names; /* the distinct first names, NAMES_MAX at most */
    uint32_t names_count;
} Round;

enum { NAMES_MAX = 16 };

double now(void);
void round_begin(Round *round, uint32_t streams, const char *label, int type, uint32_t expected,
                 double quiet);
void round_count(Round *round, uint32_t stream, const Heard *heard, double at);
bool round_is_over(const Round *round, double at);
void round_end(Round *round, uint32_t streams);

/* Sorts the values and tells them as "first", "p50", "p99" and "last". */
void tell_spread(double *values, uint32_t count);
void tell_text(const uint8_t *bytes, size_t size);

#endif
