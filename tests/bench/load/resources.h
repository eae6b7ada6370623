/* What a resource refers to: the little that a client must read of bodies to know what to ask next. */
#ifndef RESOURCES_H
#define RESOURCES_H

#include "bytes.h"

typedef void Found(void *owner, const uint8_t *name, size_t size);

void endpoints_of_cluster(const uint8_t *cluster, size_t size, Found *found, void *owner);
void routes_of_listener(const uint8_t *listener, size_t size, Found *found, void *owner);

#endif
