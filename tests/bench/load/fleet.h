/* The streams, their sockets and their TLS: connecting, reading, writing, and coming back. */
#ifndef FLEET_H
#define FLEET_H

#include <netinet/in.h>
#include <openssl/ssl.h>

#include "rounds.h"

typedef enum { DOWN, CONNECTING, SHAKING, UP } State;

typedef struct {
    Ads ads;
    SSL_CTX *tls;
    SSL *ssl;
    int fd;
    State state;
    bool is_writing; /* epoll watches for room to write */
    bool is_current;
    uint32_t index;
    double began, retry_at, took;
} Stream;

typedef struct {
    struct sockaddr_in server;
    const char *secret;
    Stream *streams;
    uint32_t count, at_once, in_handshake, current, closed;
    bool is_traced, is_told; /* `is_told`: that all are current */
    int epoll;
    double began;
    uint64_t responses, resources, bytes; /* since the first stream was lost */
    Round round;
} Fleet;

extern Fleet fleet; /* there is one thread, and one fleet */

_Noreturn void fail(const char *what, const char *why);

void connect_due(void); /* those that are down, as many at once as allowed */
void advance(Stream *stream, uint32_t events);
void close_stream(Stream *stream, const char *why); /* it comes back; `why` is told unless NULL */
void hear(void *owner, const uint8_t *message, size_t size);

#endif
