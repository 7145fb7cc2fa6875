"""Puts the page's doors round the server that Gradio starts."""

from typing import Any

from gradio import http_server
from uvicorn.config import Config

from nnclip.page.doors import PageDoors
from nnclip.service.hosts import Hosts
from nnclip.service.limits import MAX_CONNECTIONS
from nnclip.service.photos import Photos
from nnclip.service.uploads import Uploads
from nnclip.web.connections import PatientFor


def guard(hosts: Hosts, uploads: Uploads, photos: Photos) -> None:
    """Put every server that Gradio starts from now on behind `PageDoors` and `PatientFor`."""

    class Guarded(http_server.Server):
        def __init__(self, config: Config, *args: Any, **options: Any) -> None:
            super().__init__(config, *args, **options)
            config.load()
            config.loaded_app = PageDoors(config.loaded_app, hosts, uploads, photos)
            config.http_protocol_class = PatientFor
            config.limit_concurrency = MAX_CONNECTIONS

    http_server.Server = Guarded
