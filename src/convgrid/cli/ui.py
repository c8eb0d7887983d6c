"""`convgrid ui`: MLflow's dashboard on loopback, opened where the last sweep's trials stand side by side."""

from argparse import Namespace

from convgrid.config.address import SERVERS, check_uri, usual_store, without_password
from convgrid.tracking.dashboard import LOCALHOST, check_store, last_sweep, serve, share_view
from convgrid.tracking.sync_all import DEFAULT_EXPERIMENT, newest_tracking, open_store


def ui(asked: Namespace) -> int:
    """Show the dashboard until Ctrl-C; of a server, say where it is.

    Args:
        asked: `port` and `tracking_uri`.

    Returns:
        The exit status.

    Raises:
        TrackingError: If there is nothing to show, or the port is taken or none.
    """
    uri = asked.tracking_uri or newest_tracking().get("uri") or usual_store()
    check_uri(uri, "--tracking-uri" if asked.tracking_uri else None)
    is_server = uri.partition(":")[0] in SERVERS
    address = uri.rstrip("/") if is_server else f"http://{LOCALHOST}:{asked.port}"
    if not is_server:
        check_store(uri, asked.port)
    print(without_password(address) if is_server else f"{address}  (Ctrl-C ends it)")
    sweep = last_sweep(uri)
    if sweep is not None:
        store = open_store(uri, sweep.get("tracking", {}).get("experiment", DEFAULT_EXPERIMENT))
        print(f"the last sweep, side by side: {without_password(address)}{share_view(store, sweep)}", flush=True)
    if not is_server:
        serve(uri, asked.port)
    return 0
