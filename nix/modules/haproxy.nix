# HAProxy: the address that clients connect to.
{
  config,
  lib,
  pkgs,
  ...
}:

let
  cfg = config.services.pgha;
in
{
  options.services.pgha.haproxy.package = lib.mkOption {
    type = lib.types.package;
    default = pkgs.callPackage ../packages/haproxy_2_9.nix { };
    defaultText = lib.literalExpression "pgha.packages.\${system}.haproxy_2_9";
    example = lib.literalExpression "pkgs.haproxy";
    description = ''
      The HAProxy to run. 2.9 has been end of life since March 2025 and gets no security fixes: `pkgs.haproxy` is the
      supported release, and the identity's configuration is good for both.
    '';
  };

  config = lib.mkIf (cfg.enable && cfg.role == "haproxy") {
    services.pgha = {
      # haproxy-save-state talks to the admin socket.
      path = [ pkgs.socat ];
      placeholders.haproxy = lib.getExe cfg.haproxy.package;
      components.haproxy = cfg.haproxy.package;
    };

    environment.systemPackages = [
      cfg.haproxy.package
      pkgs.socat
    ];
  };
}
