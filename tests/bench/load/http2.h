/* HTTP/2 by hand, as far as one gRPC stream on its own connection needs it (RFC 9113).
 *
 * No I/O: bytes of the peer go in, bytes for the peer wait in `out`. Sending obeys the peer's flow
 * control, so a subscription to a thousand names does not break a server with a small window.
 * Header blocks are not decoded: the client needs nothing of them but the reason why a stream ended,
 * and with a table of size 0 that stands in the trailers as plain text.
 */
#ifndef HTTP2_H
#define HTTP2_H

#include "bytes.h"

typedef struct Http2 Http2;
typedef void Hear(void *owner, const uint8_t *message, size_t size);

struct Http2 {
    Hear *hear; /* called for every gRPC message */
    void *owner;
    Buffer out;     /* frames, ready to be written */
    Buffer waiting; /* gRPC messages that the peer's windows hold back */
    int64_t connection_window, stream_window;
    uint32_t peer_window, frame_max;
    uint32_t consumed; /* since the windows were last opened again */
    uint8_t header[9];
    uint32_t header_size, payload_left;
    Buffer payload; /* of a frame that is not DATA */
    Buffer message; /* prefix and body of the gRPC message that is arriving */
    const char *closed;
    char reason[160];
};

void http2_open(Http2 *http2, const char *path, const char *authority);
void http2_feed(Http2 *http2, const uint8_t *bytes, size_t size);
void http2_send(Http2 *http2, const uint8_t *message, size_t size);
void http2_free(Http2 *http2);

#endif
