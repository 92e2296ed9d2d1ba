"""What ``modelward up`` makes on its first start: an operator's key, a tenant with its key, and a model.

Every step looks for what an earlier start has done, so that one which was interrupted
anywhere is finished by the next. Only the digest of a key is kept, so a key that was
made but not yet written down cannot be found again: it is revoked, and another made.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from service.bootstrap import Services
from service.cli.data_directory import DataDirectory, Quickstart
from service.cli.pages import PAGE_SIZE, every
from service.errors import Forbidden, NotFound, Unauthenticated
from service.registry.versions import Metadata
from service.tenants.keys import KeySpec
from service.tenants.principal import PLATFORM_TENANT_ID, Principal
from service.tenants.tenants import FIRST_KEY

if TYPE_CHECKING:
    from sklearn.linear_model import LogisticRegression

TENANT: Final = "demo"
PLAN: Final = "standard"
MODEL: Final = "iris"
ALIAS: Final = "production"
KEY_NAME: Final = "modelward up"
HERE: Final = "127.0.0.1"


def finish_first_start(
    services: Services, directory: DataDirectory, url: str, say: Callable[[str], None]
) -> Quickstart:
    """Make what is missing, write down how to reach it, and return that.

    :param url: where the server is about to answer.
    :param say: told what takes a while.
    """
    earlier = directory.quickstart()
    if earlier and _stands(services, earlier.api_key) and _stands(services, earlier.admin_api_key):
        quickstart = Quickstart(url, earlier.tenant, earlier.api_key, earlier.admin_api_key)
    else:
        say("Making an operator's key and the tenant demo with a key ...")
        quickstart = Quickstart(
            url, TENANT, _tenant_key(services), _key(services, PLATFORM_TENANT_ID, "platform-admin")
        )
        _ensure_model(services, quickstart.api_key, say)
    if quickstart != earlier:
        directory.write_quickstart(quickstart)
    return quickstart


def iris() -> "LogisticRegression":
    """Return a classifier that was fitted on scikit-learn's own iris data, with its feature names."""
    import numpy as np  # noqa: PLC0415 - only the first of all starts needs any of it.
    from sklearn.datasets import load_iris  # noqa: PLC0415
    from sklearn.linear_model import LogisticRegression  # noqa: PLC0415

    data = load_iris()
    estimator = LogisticRegression(max_iter=500).fit(data.data, data.target)
    # What fitting on a data frame would have left, without a data frame library to bring it.
    estimator.feature_names_in_ = np.asarray(data.feature_names, dtype=object)
    return estimator


def _stands(services: Services, key: str) -> bool:
    try:
        services.keys.authenticate(key, HERE)
    except Unauthenticated:
        return False
    except Forbidden:
        # An operator has suspended the tenant or bound the key to a network, and meant it.
        return True
    return True


def _tenant_key(services: Services) -> str:
    try:
        tenant = services.tenants.get(TENANT)
    except NotFound:
        return services.tenants.create(Principal.operator(), TENANT, "Demo", PLAN)[1].secret
    return _key(services, tenant.id, "tenant-admin")


def _key(services: Services, tenant_id: str, role: str) -> str:
    operator = Principal.operator()
    for lost in every(lambda cursor: services.keys.list(operator, PAGE_SIZE, cursor, tenant_id)):
        if lost.name in {KEY_NAME, FIRST_KEY.name}:
            services.keys.revoke(operator, lost.id, tenant_id=tenant_id)
    return services.keys.create(operator, KeySpec(name=KEY_NAME, role=role), tenant_id).secret


def _ensure_model(services: Services, api_key: str, say: Callable[[str], None]) -> None:
    principal = services.keys.authenticate(api_key, HERE)
    try:
        services.aliases.get(principal, MODEL, ALIAS)
    except NotFound:
        from service.artifacts import serialization  # noqa: PLC0415 - as above.

        say("Training the model iris ...")
        artifact = serialization.dump(iris())
        say("Admitting it, as any upload is admitted ...")
        metadata = Metadata(description="Logistic regression on scikit-learn's iris data.", alias=ALIAS)
        services.versions.upload(principal, MODEL, artifact, metadata)
