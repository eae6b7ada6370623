#include "fleet.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { CLOSED_TOLD_MAX = 20 };

Fleet fleet;

_Noreturn void fail(const char *what, const char *why) {
    fprintf(stderr, "load: %s: %s\n", what, why);
    exit(1);
}

static void watch(Stream *stream, bool is_writing, int operation) {
    struct epoll_event event = {.events = EPOLLIN | (is_writing ? EPOLLOUT : 0u), .data.ptr = stream};
    stream->is_writing = is_writing;
    if (epoll_ctl(fleet.epoll, operation, stream->fd, &event)) fail("epoll_ctl", strerror(errno));
}

void close_stream(Stream *stream, const char *why) {
    if (why && fleet.closed++ < CLOSED_TOLD_MAX) {
        printf("{\"event\":\"closed\",\"stream\":%u,\"at\":%.6f,\"reason\":", stream->index, now());
        tell_text((const uint8_t *)why, strlen(why));
        printf("}\n");
        fflush(stdout);
    }
    if (stream->state == CONNECTING || stream->state == SHAKING) fleet.in_handshake--;
    if (stream->is_current) fleet.current--;
    if (stream->ssl) SSL_free(stream->ssl);
    if (stream->state != DOWN) close(stream->fd);
    ads_closed(&stream->ads);
    stream->ssl = NULL;
    stream->state = DOWN;
    stream->is_current = false;
    if (fleet.is_told) { /* the first to go: from here it is counted what coming back costs */
        fleet.is_told = false;
        fleet.began = now();
        fleet.responses = fleet.resources = fleet.bytes = 0;
    }
    /* Envoy backs off up to 30 s; a benchmark of the server must not wait for its clients. The jitter
     * keeps a fleet from knocking in step. */
    stream->retry_at = now() + 0.1 + 0.3 * rand() / RAND_MAX;
}

static void connect_stream(Stream *stream) {
    int one = 1;
    stream->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (stream->fd < 0) fail("socket", strerror(errno)); /* too many open files: raise the limit */
    setsockopt(stream->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    stream->state = CONNECTING;
    stream->began = now();
    fleet.in_handshake++;
    const struct sockaddr *server = (const struct sockaddr *)&fleet.server;
    bool is_refused = connect(stream->fd, server, sizeof fleet.server) && errno != EINPROGRESS;
    watch(stream, true, EPOLL_CTL_ADD);
    if (is_refused) close_stream(stream, strerror(errno));
}

void connect_due(void) {
    static uint32_t next;
    double at = now();
    for (uint32_t i = 0; i < fleet.count && fleet.in_handshake < fleet.at_once; i++) {
        Stream *stream = &fleet.streams[next++ % fleet.count];
        if (stream->state == DOWN && stream->retry_at <= at) connect_stream(stream);
    }
}

static void flush(Stream *stream) {
    Buffer *out = &stream->ads.http2.out;
    while (buffer_size(out)) {
        size_t size = buffer_size(out) < 1 << 20 ? buffer_size(out) : 1 << 20;
        int written = SSL_write(stream->ssl, buffer_front(out), (int)size);
        if (written > 0) {
            buffer_drop(out, (size_t)written);
            continue;
        }
        int why = SSL_get_error(stream->ssl, written);
        if (why == SSL_ERROR_WANT_WRITE || why == SSL_ERROR_WANT_READ) break;
        close_stream(stream, "could not write");
        return;
    }
    bool is_full = buffer_size(out) > 0;
    if (is_full != stream->is_writing) watch(stream, is_full, EPOLL_CTL_MOD);
}

void hear(void *owner, const uint8_t *message, size_t size) {
    Stream *stream = owner;
    Heard heard;
    if (!ads_hear(&stream->ads, message, size, &heard))
        fail("response", "not a DeltaDiscoveryResponse of a known type");
    double at = now();
    fleet.responses++;
    fleet.resources += heard.resources;
    fleet.bytes += size;
    round_count(&fleet.round, stream->index, &heard, at);
    if (fleet.is_traced) {
        printf("{\"event\":\"response\",\"stream\":%u,\"type\":\"%s\",\"at\":%.6f", stream->index,
               SHORT_NAMES[heard.type], at);
        printf(",\"resources\":%u,\"removed\":%u,\"nonce\":", heard.resources, heard.removed);
        tell_text(heard.nonce, heard.nonce_size);
        printf("}\n");
    }
    if (stream->is_current || !ads_is_current(&stream->ads)) return;
    stream->is_current = true;
    stream->took = at - stream->began;
    fleet.current++;
}

static void read_stream(Stream *stream) {
    static uint8_t bytes[1 << 16];
    /* A bounded number of reads, so that one busy stream does not hold up the others: epoll is level
     * triggered, but what OpenSSL has already read it does not see. */
    for (int turn = 0; turn < 64 || SSL_pending(stream->ssl); turn++) {
        int size = SSL_read(stream->ssl, bytes, sizeof bytes);
        if (size > 0) {
            http2_feed(&stream->ads.http2, bytes, (size_t)size);
            if (!stream->ads.http2.closed) continue;
            flush(stream);
            if (stream->state != DOWN) close_stream(stream, stream->ads.http2.closed);
            return;
        }
        int why = SSL_get_error(stream->ssl, size);
        if (why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE) break;
        ERR_clear_error();
        close_stream(stream, "closed by the server");
        return;
    }
    flush(stream);
}

static void shake_hands(Stream *stream) {
    ERR_clear_error();
    int done = SSL_connect(stream->ssl);
    if (done == 1) {
        stream->state = UP;
        fleet.in_handshake--;
        ads_open(&stream->ads);
        flush(stream);
        return;
    }
    int why = SSL_get_error(stream->ssl, done);
    bool is_writing = why == SSL_ERROR_WANT_WRITE;
    if (is_writing || why == SSL_ERROR_WANT_READ) {
        if (is_writing != stream->is_writing) watch(stream, is_writing, EPOLL_CTL_MOD);
        return;
    }
    char text[160] = "closed during the handshake";
    if (ERR_peek_error()) ERR_error_string_n(ERR_get_error(), text, sizeof text);
    close_stream(stream, text);
}

void advance(Stream *stream, uint32_t events) {
    if (stream->state == CONNECTING) {
        int error = 0;
        socklen_t size = sizeof error;
        getsockopt(stream->fd, SOL_SOCKET, SO_ERROR, &error, &size);
        if (error) {
            close_stream(stream, strerror(error));
            return;
        }
        if (!(events & EPOLLOUT)) return;
        stream->state = SHAKING;
        stream->ssl = SSL_new(stream->tls);
        if (!stream->ssl || !SSL_set_fd(stream->ssl, stream->fd)) fail("TLS", "no connection object");
    }
    if (stream->state == SHAKING) {
        shake_hands(stream);
        return;
    }
    if (stream->state == UP && events & EPOLLOUT) flush(stream);
    if (stream->state == UP && events & (EPOLLIN | EPOLLHUP | EPOLLERR)) read_stream(stream);
}
