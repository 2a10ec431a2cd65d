# Makes hook.iso from what lies in the directory in. mtools and xorriso take the time from SOURCE_DATE_EPOCH, and
# the GUIDs of the partitions too, but xorriso takes the files' own; TZ is UTC, since FAT knows no zones.
#
#   make.sh SHIM BOOTFILE GRUB GRUBFILE
set -eu
umask 022
shim=$1 bootfile=$2 grub=$3 grubfile=$4

for deb in in/*.deb; do dpkg-deb --extract "$deb" boot; done

# The firmware reads this file system, GRUB the one around it. 16 MiB are about three times what is in it; El
# Torito can say up to 32. The serial number, -N, would be a random one.
truncate -s 16M efi.img
mformat -i efi.img -N 484f4f4b -v HOOKEFI -T 32768 -h 64 -s 32 ::
mmd -i efi.img ::/EFI ::/EFI/BOOT
mcopy -i efi.img "boot/$shim" "::/EFI/BOOT/$bootfile"
mcopy -i efi.img "boot/$grub" "::/EFI/BOOT/$grubfile"

mkdir -p tree/boot/grub tree/.disk
mv in/vmlinuz in/initramfs tree/
mv in/grub.cfg tree/boot/grub/
echo HookOS >tree/.disk/info # by which Debian's GRUB knows its medium
chmod -R u=rwX,go=rX tree
find tree -exec touch -d "@$SOURCE_DATE_EPOCH" {} +

# Level 3, since an initramfs may have 4 GiB and more. The FAT is a partition as well, for BMCs that show the image
# as a disk.
xorriso -report_about SORRY -as mkisofs -iso-level 3 -rational-rock -volid HOOKOS -output hook.iso \
    -append_partition 2 0xef efi.img -appended_part_as_gpt -partition_offset 16 \
    --set_all_file_dates set_to_mtime \
    -eltorito-alt-boot -e --interval:appended_partition_2:all:: -no-emul-boot \
    tree
