#include "rounds.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

double now(void) {
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return (double)at.tv_sec + (double)at.tv_nsec / 1e9;
}

void round_begin(Round *round, uint32_t streams, const char *label, int type, uint32_t expected,
                 double quiet) {
    double *acked = grown(round->acked, streams, sizeof *acked);
    uint32_t *names = grown(round->names, NAMES_MAX, sizeof *names);
    memset(acked, 0, streams * sizeof *acked);
    *round = (Round){.is_running = true, .type = type, .expected = expected, .quiet = quiet, .last = now()};
    round->acked = acked;
    round->names = names;
    snprintf(round->label, sizeof round->label, "%s", label);
}

static void remember_name(Round *round, uint32_t name) {
    for (uint32_t i = 0; i < round->names_count; i++)
        if (round->names[i] == name) return;
    if (name && round->names_count < NAMES_MAX) round->names[round->names_count++] = name;
}

void round_count(Round *round, uint32_t stream, const Heard *heard, double at) {
    if (!round->is_running || (round->type != TYPES && round->type != (int)heard->type)) return;
    if (!round->responses++) round->first = at;
    round->last = at;
    round->streams += round->acked[stream] == 0;
    round->acked[stream] = at;
    round->resources += heard->resources;
    round->removed += heard->removed;
    round->bytes += heard->size;
    remember_name(round, heard->first_name);
}

bool round_is_over(const Round *round, double at) {
    return round->is_running && round->streams >= round->expected && at - round->last >= round->quiet;
}

static int compare(const void *left, const void *right) {
    double a = *(const double *)left, b = *(const double *)right;
    return (a > b) - (a < b);
}

void tell_spread(double *values, uint32_t count) {
    if (!count) return;
    qsort(values, count, sizeof *values, compare);
    /* The nearest rank: p99 of 300 is the 297th. */
    double p50 = values[((uint64_t)count * 50 + 99) / 100 - 1];
    double p99 = values[((uint64_t)count * 99 + 99) / 100 - 1];
    printf(",\"first\":%.6f,\"p50\":%.6f,\"p99\":%.6f,\"last\":%.6f", values[0], p50, p99, values[count - 1]);
}

void tell_text(const uint8_t *bytes, size_t size) {
    putchar('"');
    for (size_t i = 0; i < size; i++) {
        if (bytes[i] < ' ' || bytes[i] >= 0x7f || bytes[i] == '"' || bytes[i] == '\\')
            printf("\\u%04x", bytes[i]);
        else
            putchar(bytes[i]);
    }
    putchar('"');
}

void round_end(Round *round, uint32_t streams) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < streams; i++)
        if (round->acked[i] != 0) round->acked[count++] = round->acked[i];
    printf("{\"event\":\"round\",\"label\":");
    tell_text((const uint8_t *)round->label, strlen(round->label));
    printf(",\"streams\":%u,\"responses\":%llu", round->streams, (unsigned long long)round->responses);
    printf(",\"resources\":%llu,\"removed\":%llu", (unsigned long long)round->resources,
           (unsigned long long)round->removed);
    printf(",\"bytes\":%llu,\"names\":[", (unsigned long long)round->bytes);
    for (uint32_t i = 0; i < round->names_count; i++) {
        Text name = text_of(round->names[i]);
        if (i) putchar(',');
        tell_text((const uint8_t *)name.bytes, name.size);
    }
    printf("]");
    tell_spread(round->acked, count);
    printf("}\n");
    fflush(stdout);
    round->is_running = false;
}
