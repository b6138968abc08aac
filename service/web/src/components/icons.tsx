/** Small drawings; all of them are decoration, so what they mean must stand beside them for those who do not see them. */
import type { ReactNode } from "react";

function Icon({ children, size = 18 }: { children: ReactNode; size?: number }) {
  return (
    <svg
      width={size}
      height={size}
      viewBox="0 0 20 20"
      fill="none"
      stroke="currentColor"
      strokeWidth="1.6"
      strokeLinecap="round"
      strokeLinejoin="round"
      aria-hidden="true"
    >
      {children}
    </svg>
  );
}

export const Mark = ({ size = 28 }: { size?: number }) => (
  <svg width={size} height={size} viewBox="0 0 32 32" aria-hidden="true">
    <rect width="32" height="32" rx="9" className="mark-ground" />
    <path d="M8 9.5h12a3 3 0 0 1 3 3V16a3 3 0 0 1-3 3h-6.5L9 22.5V19H8z" className="mark-front" />
    <path
      d="M16.5 21.5h3.6l3.9 3.1v-3.1a2.6 2.6 0 0 0 1.6-2.4V15"
      className="mark-back"
      fill="none"
      strokeWidth="1.8"
      strokeLinecap="round"
      strokeLinejoin="round"
    />
  </svg>
);

export const Menu = () => (
  <Icon>
    <path d="M3.5 6h13M3.5 10h13M3.5 14h13" />
  </Icon>
);

export const People = () => (
  <Icon>
    <circle cx="7.5" cy="7" r="2.75" />
    <path d="M2.5 16c.4-2.8 2.4-4.4 5-4.4s4.6 1.6 5 4.4" />
    <path d="M12.8 4.600a2.5 2.5 0 0 1 0 4.800M14.4 12c1.8.5 2.9 1.9 3.2 4" />
  </Icon>
);

export const Send = () => (
  <Icon>
    <path d="M10 16V4.500M5 9l5-5 5 5" strokeWidth="2" />
  </Icon>
);

export const Down = () => (
  <Icon size={16}>
    <path d="M10 4v11M5.5 11l4.5 4.5 4.5-4.5" />
  </Icon>
);

export const Close = () => (
  <Icon size={16}>
    <path d="M5 5l10 10M15 5L5 15" />
  </Icon>
);

export const Leave = () => (
  <Icon size={16}>
    <path d="M8 4H5a1.5 1.5 0 0 0-1.5 1.500v9A1.5 1.5 0 0 0 5 16h3M12.5 6.500L16 10l-3.5 3.500M16 10H8" />
  </Icon>
);

export const Clock = () => (
  <Icon size={13}>
    <circle cx="10" cy="10" r="7.5" />
    <path d="M10 6v4l2.5 1.5" />
  </Icon>
);

export const Check = () => (
  <Icon size={13}>
    <path d="M4 10.500l4 4 8-9" strokeWidth="2" />
  </Icon>
);

export const Warning = () => (
  <Icon size={15}>
    <path d="M10 3.500l7.2 12.500H2.800zM10 8.200v3.600M10 14v.1" />
  </Icon>
);

export const Search = () => (
  <Icon size={15}>
    <circle cx="8.8" cy="8.8" r="5.3" />
    <path d="M12.8 12.800L17 17" />
  </Icon>
);
