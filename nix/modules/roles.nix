# nixosModules: `default` has all the options and does nothing by itself; one of the others makes the host a node.
{ lib }:

let
  # Named modules, so that an error tells where a definition comes from and importing one twice is no conflict.
  named = name: module: {
    _file = "${toString ./.}#nixosModules.${name}";
    key = "pgha#nixosModules.${name}";
    imports = [
      ./.
      module
    ];
  };

  role = name: {
    services.pgha = {
      enable = lib.mkDefault true;
      role = name;
    };
  };
in
lib.genAttrs [ "backup" "etcd" "haproxy" "postgres" ] (name: named name (role name))
// {
  default = named "default" { };
  appliance = named "appliance" ./appliance.nix;
}
