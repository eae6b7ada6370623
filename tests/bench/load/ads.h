/* One Envoy's side of an aggregated delta stream: what it asks for, in which order, and its ACKs.
 *
 * The order is Envoy's. Clusters first; their endpoints and the trust bundle as soon as the clusters
 * are known; listeners only once every cluster is warm; the route tables that the listeners name.
 * Everything is acknowledged; what a real Envoy would do with it (build it, fail) is left out.
 * On the next connection it says which versions it has, so that nothing need be sent again.
 */
#ifndef ADS_H
#define ADS_H

#include "http2.h"
#include "names.h"

typedef enum { CDS, EDS, LDS, RDS, SDS, TYPES } Type;

extern const char *const SHORT_NAMES[TYPES];

typedef struct {
    bool is_asked;    /* on this connection */
    bool is_answered; /* on this or an earlier one */
    Map names;        /* name -> version, or a state that is none: see ads.c */
    uint32_t awaited; /* how many of the names are in that state */
} Subscription;

typedef struct {
    const char *node, *secret; /* `secret`: the name of the trust bundle; empty asks for none */
    Http2 http2;
    Subscription types[TYPES];
    bool is_known;    /* the node was sent on this connection */
    bool was_current; /* at least once, on any connection */
    Buffer held;      /* the nonce of a CDS response that is acknowledged once its clusters are warm */
} Ads;

/* What one response said. */
typedef struct {
    Type type;
    uint32_t resources, removed;
    size_t size;
    uint32_t first_name; /* of its resources and removals; 0 when it has none */
    const uint8_t *nonce;
    size_t nonce_size;
} Heard;

void ads_open(Ads *ads);
bool ads_hear(Ads *ads, const uint8_t *message, size_t size, Heard *heard); /* false: not understood */
bool ads_is_current(const Ads *ads);
void ads_closed(Ads *ads);

#endif
