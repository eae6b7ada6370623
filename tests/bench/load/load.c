/* A fleet of Envoys, as the control plane sees it: one mutual-TLS connection and one delta stream each.
 *
 * One thread and one epoll, so that it costs far less than the server it measures. What a proxy says
 * is in ads.c, its connection in fleet.c, what is counted in rounds.c; here are the commands.
 *
 *   load HOST PORT ROOT_PEM STREAMS_FILE [--secret NAME] [--at-once N] [--trace]
 *
 * STREAMS_FILE has a line `node-id certificate-file key-file` for each stream. Standard output carries
 * events, one JSON object per line; standard input takes commands:
 *
 *   round LABEL STREAMS TYPE QUIET_MS   tell when so many streams acknowledged something of the type
 *   count                               end the round now and tell what it has
 *   reconnect                           close every connection, and come back with the versions held
 *   quit                                as does the end of the input: nobody is left to measure for
 */
#include <arpa/inet.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <unistd.h>

#include "fleet.h"

enum { STREAMS_MAX = 100000, LINE_MAX_SIZE = 4096, EVENTS = 256 };

static void tell_all_current(void) {
    printf("{\"event\":\"current\",\"streams\":%u", fleet.count);
    printf(",\"began\":%.6f,\"ended\":%.6f", fleet.began, now());
    printf(",\"responses\":%llu,\"resources\":%llu,\"bytes\":%llu,\"closed\":%u",
           (unsigned long long)fleet.responses, (unsigned long long)fleet.resources,
           (unsigned long long)fleet.bytes, fleet.closed);
    printf(",\"took\":[");
    for (uint32_t i = 0; i < fleet.count; i++) printf(i ? ",%.6f" : "%.6f", fleet.streams[i].took);
    printf("]}\n");
    fflush(stdout);
    fleet.is_told = true;
}

static int type_named(const char *name) {
    for (int type = 0; type < TYPES; type++)
        if (!strcmp(name, SHORT_NAMES[type])) return type;
    return strcmp(name, "any") ? -1 : TYPES;
}

static void obey(const char *line) {
    char label[LABEL_MAX + 1], type[8];
    uint32_t expected, quiet_ms;
    if (!strcmp(line, "quit")) exit(0);
    if (!strcmp(line, "count")) {
        if (fleet.round.is_running) round_end(&fleet.round, fleet.count);
    } else if (!strcmp(line, "reconnect")) {
        for (uint32_t i = 0; i < fleet.count; i++) {
            close_stream(&fleet.streams[i], NULL);
            fleet.streams[i].retry_at = 0;
        }
    } else if (sscanf(line, "round %63s %u %7s %u", label, &expected, type, &quiet_ms) == 4 &&
               type_named(type) >= 0) {
        round_begin(&fleet.round, fleet.count, label, type_named(type), expected, quiet_ms / 1000.0);
        printf("{\"event\":\"begun\",\"at\":%.6f}\n", now());
        fflush(stdout);
    } else {
        fail("not a command", line);
    }
}

static void read_commands(void) {
    static char line[LINE_MAX_SIZE];
    static size_t used;
    ssize_t size = read(STDIN_FILENO, line + used, sizeof line - 1 - used);
    if (size <= 0) exit(0);
    used += (size_t)size;
    line[used] = 0;
    char *start = line;
    for (char *end; (end = strchr(start, '\n')); start = end + 1) {
        *end = 0;
        obey(start);
    }
    used = strlen(start);
    memmove(line, start, used);
    if (used == sizeof line - 1) fail("not a command", "line too long");
}

static void run(void) {
    struct epoll_event events[EVENTS], input = {.events = EPOLLIN, .data.ptr = NULL};
    if (epoll_ctl(fleet.epoll, EPOLL_CTL_ADD, STDIN_FILENO, &input)) fail("epoll_ctl", strerror(errno));
    fleet.began = now();
    for (;;) {
        connect_due();
        int count = epoll_wait(fleet.epoll, events, EVENTS, 10);
        if (count < 0 && errno != EINTR) fail("epoll_wait", strerror(errno));
        for (int i = 0; i < count; i++) {
            if (events[i].data.ptr)
                advance(events[i].data.ptr, events[i].events);
            else
                read_commands();
        }
        if (!fleet.is_told && fleet.current == fleet.count) tell_all_current();
        if (round_is_over(&fleet.round, now())) round_end(&fleet.round, fleet.count);
    }
}

static SSL_CTX *credentials(const char *certificate, const char *key, X509_STORE *roots) {
    SSL_CTX *tls = SSL_CTX_new(TLS_client_method());
    if (!tls) fail("TLS", "no context");
    SSL_CTX_set_mode(tls, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                              SSL_MODE_RELEASE_BUFFERS);
    /* Every connection is a full handshake, as it is after the server was restarted. */
    SSL_CTX_set_session_cache_mode(tls, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_options(tls, SSL_OP_NO_TICKET);
    if (SSL_CTX_use_certificate_chain_file(tls, certificate) != 1) fail(certificate, "no certificate chain");
    if (SSL_CTX_use_PrivateKey_file(tls, key, SSL_FILETYPE_PEM) != 1) fail(key, "no key for its certificate");
    SSL_CTX_set1_verify_cert_store(tls, roots);
    SSL_CTX_set_verify(tls, SSL_VERIFY_PEER, NULL);
    if (SSL_CTX_set_alpn_protos(tls, (const uint8_t *)"\x02h2", 3)) fail("TLS", "no ALPN");
    return tls;
}

static void add_stream(const char *node, SSL_CTX *tls) {
    if (fleet.count == STREAMS_MAX) fail("streams", "too many");
    fleet.streams = grown(fleet.streams, fleet.count + 1, sizeof *fleet.streams);
    fleet.streams[fleet.count] = (Stream){.tls = tls, .index = fleet.count};
    fleet.streams[fleet.count].ads.node = strdup(node);
    fleet.streams[fleet.count++].ads.secret = fleet.secret;
}

static void load_streams(const char *path, X509_STORE *roots) {
    FILE *file = fopen(path, "r");
    if (!file) fail(path, strerror(errno));
    char line[LINE_MAX_SIZE], node[512], certificate[1024], key[1024], before[1024] = "";
    SSL_CTX *tls = NULL;
    while (fgets(line, sizeof line, file)) {
        if (sscanf(line, "%511s %1023s %1023s", node, certificate, key) != 3)
            fail(path, "expected: node certificate key");
        if (strcmp(certificate, before)) tls = credentials(certificate, key, roots);
        strcpy(before, certificate);
        add_stream(node, tls);
    }
    fclose(file);
    if (!fleet.count) fail(path, "no streams");
    for (uint32_t i = 0; i < fleet.count; i++) { /* only now do the streams stay where they are */
        fleet.streams[i].ads.http2.hear = hear;
        fleet.streams[i].ads.http2.owner = &fleet.streams[i];
    }
}

int main(int count, char **words) {
    if (count < 5) fail("usage", "load HOST PORT ROOT_PEM STREAMS_FILE [OPTIONS]");
    signal(SIGPIPE, SIG_IGN); /* a server that went away is an error of write() */
    struct rlimit files;
    if (!getrlimit(RLIMIT_NOFILE, &files)) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
    fleet.secret = "";
    fleet.at_once = 64;
    for (int i = 5; i < count; i++) {
        if (!strcmp(words[i], "--trace"))
            fleet.is_traced = true;
        else if (!strcmp(words[i], "--secret") && i + 1 < count)
            fleet.secret = words[++i];
        else if (!strcmp(words[i], "--at-once") && i + 1 < count && atoi(words[i + 1]) > 0)
            fleet.at_once = (uint32_t)atoi(words[++i]);
        else
            fail("not an option", words[i]);
    }
    int port = atoi(words[2]);
    fleet.server = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    if (port < 1 || port > 65535 || inet_pton(AF_INET, words[1], &fleet.server.sin_addr) != 1)
        fail("not an address and a port", words[2]);
    X509_STORE *roots = X509_STORE_new();
    if (!roots || X509_STORE_load_file(roots, words[3]) != 1) fail(words[3], "no root certificates");
    load_streams(words[4], roots);
    fleet.epoll = epoll_create1(EPOLL_CLOEXEC);
    if (fleet.epoll < 0) fail("epoll_create1", strerror(errno));
    run();
}
