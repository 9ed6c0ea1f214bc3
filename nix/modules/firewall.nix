# The firewall is the identity's whole rule set, loaded by pgha-firewall before the network comes up.
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
  config = lib.mkIf cfg.enable {
    assertions = [
      {
        assertion = !config.networking.firewall.enable && !config.networking.nftables.enable;
        message = ''
          services.pgha: pgha-firewall.service starts with "flush ruleset" and would remove the rules of
          networking.${
            if config.networking.firewall.enable then "firewall" else "nftables"
          }.enable = true. What the node lets in is written in hosts.yml.
        '';
      }
    ];

    # "Off" is NixOS' own rules only. No role service starts unless pgha-firewall has loaded the identity's.
    networking.firewall.enable = lib.mkDefault false;

    services.pgha.placeholders.nft = lib.getExe pkgs.nftables;

    environment.systemPackages = [ pkgs.nftables ];
  };
}
