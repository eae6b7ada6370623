"""How access logs look: one file, Istio's line or the user's, and what is logged at which place.

Requests are logged by the HTTP connection manager, connections by the TCP proxy. A listener logs only
what reached neither (no filter chain fits), or a refused connection would leave no trace at all.
"""

from __future__ import annotations

import json
from typing import Any

from mesh.views import AccessLog
from xds import envoy

# Istio, ``pilot/pkg/model/telemetry_logging.go``, EnvoyTextLogFormat: the line its users parse.
TEXT_FORMAT = (
    '[%START_TIME%] "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%" %RESPONSE_CODE%'
    " %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS%"
    ' "%UPSTREAM_TRANSPORT_FAILURE_REASON%" %BYTES_RECEIVED% %BYTES_SENT% %DURATION%'
    ' %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% "%REQ(X-FORWARDED-FOR)%" "%REQ(USER-AGENT)%"'
    ' "%REQ(X-REQUEST-ID)%" "%REQ(:AUTHORITY)%" "%UPSTREAM_HOST%" %UPSTREAM_CLUSTER_RAW%'
    " %UPSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS%"
    " %REQUESTED_SERVER_NAME% %ROUTE_NAME%\n"
)
# The same, EnvoyJSONLogFormatIstio.
JSON_FORMAT = {
    "start_time": "%START_TIME%",
    "route_name": "%ROUTE_NAME%",
    "method": "%REQ(:METHOD)%",
    "path": "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%",
    "protocol": "%PROTOCOL%",
    "response_code": "%RESPONSE_CODE%",
    "response_flags": "%RESPONSE_FLAGS%",
    "response_code_details": "%RESPONSE_CODE_DETAILS%",
    "connection_termination_details": "%CONNECTION_TERMINATION_DETAILS%",
    "bytes_received": "%BYTES_RECEIVED%",
    "bytes_sent": "%BYTES_SENT%",
    "duration": "%DURATION%",
    "upstream_service_time": "%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%",
    "x_forwarded_for": "%REQ(X-FORWARDED-FOR)%",
    "user_agent": "%REQ(USER-AGENT)%",
    "request_id": "%REQ(X-REQUEST-ID)%",
    "authority": "%REQ(:AUTHORITY)%",
    "upstream_host": "%UPSTREAM_HOST%",
    "upstream_cluster": "%UPSTREAM_CLUSTER_RAW%",
    "upstream_local_address": "%UPSTREAM_LOCAL_ADDRESS%",
    "downstream_local_address": "%DOWNSTREAM_LOCAL_ADDRESS%",
    "downstream_remote_address": "%DOWNSTREAM_REMOTE_ADDRESS%",
    "requested_server_name": "%REQUESTED_SERVER_NAME%",
    "upstream_transport_failure_reason": "%UPSTREAM_TRANSPORT_FAILURE_REASON%",
}


def traffic(log: AccessLog | None) -> list[Any]:
    """What an HTTP connection manager or a TCP proxy writes: everything, or nothing."""
    return [] if log is None else [_access_log(log)]


def unmatched(log: AccessLog | None) -> list[Any]:
    """What a listener writes: connections that no filter chain fitted (flag ``NR``)."""
    if log is None:
        return []
    logger = _access_log(log)
    logger.filter.response_flag_filter.flags.append("NR")
    return [logger]


def _access_log(log: AccessLog) -> Any:
    config = envoy.message("envoy.extensions.access_loggers.file.v3.FileAccessLog")(path=log.path)
    if log.json:
        config.log_format.json_format.update(_json_format(log.format))
    else:
        config.log_format.text_format_source.inline_string = _line(log.format)
    return envoy.message("envoy.config.accesslog.v3.AccessLog")(
        name="envoy.access_loggers.file", typed_config=envoy.packed(config)
    )


def _line(text: str) -> str:
    """Istio ends the user's line where the user forgot to."""
    if not text:
        return TEXT_FORMAT
    return text if text.endswith("\n") else text + "\n"


def _json_format(text: str) -> dict[str, Any]:
    """The user's object. Istio writes its own where the text is none (``accessLogFormat``)."""
    try:
        found = json.loads(text)
    except json.JSONDecodeError:
        return dict(JSON_FORMAT)
    return found if isinstance(found, dict) else dict(JSON_FORMAT)
