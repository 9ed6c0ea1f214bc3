# HAProxy 2.9: the release this project was asked for, built from nixpkgs' recipe for 3.x.
# 2.9 has been end of life since March 2025; services.pgha.haproxy.package takes pkgs.haproxy instead.
{
  fetchurl,
  haproxy,
  lib,
}:

haproxy.overrideAttrs (
  finalAttrs: previousAttrs: {
    version = "2.9.15";

    src = fetchurl {
      url = "https://www.haproxy.org/download/2.9/src/haproxy-${finalAttrs.version}.tar.gz";
      hash = "sha256-XuybBIRY0M3GguyCOBD5U1B8kuTRJnMUUVbH2+Vgv8U=";
    };

    # OpenSSL's own QUIC interface (3.5 and later) is known to HAProxy from 3.2 on; 2.9 stops at compile time.
    # Nothing here speaks HTTP/3.
    buildFlags = lib.remove "USE_QUIC=yes" previousAttrs.buildFlags;

    # Written before C23, which GCC 15 takes for granted.
    env = (previousAttrs.env or { }) // {
      NIX_CFLAGS_COMPILE = "-std=gnu17";
    };

    # nixpkgs' test is for the release nixpkgs ships; ours are the scenarios (checks.scenario-*).
    passthru = removeAttrs previousAttrs.passthru [ "tests" ];

    meta = previousAttrs.meta // {
      changelog = "https://www.haproxy.org/download/2.9/src/CHANGELOG";
    };
  }
)
