# Sourced by samples/demo and tests/run: make sure that Debian packages are installed.
# need_packages PACKAGE...   installs what is missing, as root or through sudo, and says what;
# otherwise prints the exact apt line and exits 1.
need_packages() {
    missing=
    for package in "$@"; do
        state=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
        [ "$state" = installed ] || missing="$missing $package"
    done
    [ -n "$missing" ] || return 0
    if [ "$(id -u)" = 0 ]; then
        as_root=
    elif command -v sudo >/dev/null 2>&1 && { [ -t 0 ] || sudo -n true 2>/dev/null; }; then
        as_root=sudo
    else
        echo "These Debian packages are missing; install them and run this again:" >&2
        echo "  apt-get install -y --no-install-recommends$missing" >&2
        exit 1
    fi
    echo "Installing Debian packages:$missing" >&2
    # the list of packages may be older than the archive: refresh it first
    $as_root apt-get update -q >&2
    # shellcheck disable=SC2086
    $as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get install -q -y --no-install-recommends $missing >&2
}

BUILD_PACKAGES="gcc libc6-dev meson ninja-build pkg-config libncurses-dev libopenblas-dev libcjson-dev \
libutf8proc-dev libpcre2-dev zlib1g-dev"
